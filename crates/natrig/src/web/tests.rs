use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::Mutex,
    time::Instant,
};

use natrig_record::{Cell, Outcome, Planned, RunInfo, What};

use super::*;

const LOOPBACK: &str = "127.0.0.1:0";
const SECRET: &str = "0123456789abcdef";

/// A run that is served.
fn served(token: Option<&str>) -> (Web, SocketAddr) {
    let address = LOOPBACK.parse().unwrap();
    let web = Web::listen(address, access::admitted(address, token.map(str::to_owned)).unwrap()).unwrap();
    let address = web.address;
    (web, address)
}

fn node(cell: usize, number: usize) -> Event {
    let event = serde_json::json!({"event": "probe", "number": number});
    Event { at_ms: number as f64, cell: Some(cell), what: What::Node { machine: "peer1".into(), event } }
}

fn started(cells: usize) -> Event {
    let planned = |number: usize| Planned { id: format!("cell-{number}"), ..Planned::default() };
    let what = What::RunStarted {
        info: Box::new(RunInfo { seed: u64::MAX, folder: "/nowhere".into(), ..RunInfo::default() }),
        cells: (0..cells).map(planned).collect(),
        maps: Vec::new(),
    };
    Event { at_ms: 0.0, cell: None, what }
}

fn finished(cell: usize) -> Event {
    let record = Cell { id: format!("cell-{cell}"), outcome: Outcome::AsExpected, ..Cell::default() };
    Event { at_ms: 9.0, cell: Some(cell), what: What::CellFinished { cell: Box::new(record) } }
}

/// What comes back to a request with these lines; `{}` is the address.
fn ask(address: SocketAddr, lines: &[&str]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let text = lines.join("\r\n").replace("{}", &address.to_string()) + "\r\n\r\n";
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    // A refusal may come as a reset once it was read.
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

/// Events as they come, from an entry on: those without an ID are left out.
fn listen(address: SocketAddr, after: Option<&str>) -> impl Iterator<Item = (String, serde_json::Value)> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // That there is nothing new would be heard for ever.
    let begun = Instant::now();
    let in_time = move |_: &String| begun.elapsed() < Duration::from_secs(10);
    let seen = after.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
    write!(stream, "GET /events HTTP/1.1\r\nHost: {address}\r\n{seen}\r\n").unwrap();
    let mut id = None;
    BufReader::new(stream).lines().map_while(Result::ok).take_while(in_time).filter_map(move |line| {
        if let Some(found) = line.strip_prefix("id: ") {
            id = Some(found.to_owned());
            return None;
        }
        let data = serde_json::from_str(line.strip_prefix("data: ")?).unwrap();
        id.take().map(|id| (id, data))
    })
}

#[test]
fn an_address_that_others_reach_needs_a_token() {
    for address in ["0.0.0.0:8080", "[::]:8080", "10.0.0.1:1"] {
        let address: SocketAddr = address.parse().unwrap();
        let refused = access::admitted(address, None).map(drop).unwrap_err().to_string();
        assert!(refused.contains(&address.to_string()) && refused.contains("hint: "), "{refused}");
        assert!(access::admitted(address, Some(SECRET.into())).unwrap().is_some());
        let refused = access::admitted(address, Some("short".into())).map(drop).unwrap_err().to_string();
        assert!(refused.contains("16 characters"), "{refused}");
    }
    for address in ["127.0.0.1:0", "[::1]:8080", "127.3.4.5:1"] {
        assert!(access::admitted(address.parse().unwrap(), None).unwrap().is_none(), "{address}");
    }
}

#[test]
fn only_our_own_names_are_answered_to() {
    let (_web, address) = served(None);
    let get = |host: &str| ask(address, &["GET / HTTP/1.1", &format!("Host: {host}")]);
    for host in ["{}", "localhost", "localhost:1", "127.0.0.1:9000", "[::1]:9000"] {
        assert_eq!(status(&get(host)), "200", "{host}");
    }
    for host in
        ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "", "localhost.", "127.1"]
    {
        assert_eq!(status(&get(host)), "421", "{host}");
    }
    assert_eq!(status(&ask(address, &["GET / HTTP/1.1"])), "421");
    assert_eq!(status(&ask(address, &["GET / HTTP/1.1", "Host: {}", "Host: evil.example"])), "421");
    let page = get("{}");
    assert!(page.contains("frame-ancestors 'none'") && page.contains("nosniff"));
    assert!(!page.to_lowercase().contains("access-control-"));
}

#[test]
fn other_origins_are_refused() {
    let (_web, address) = served(None);
    let with = |method: &str, origin: &str| {
        ask(
            address,
            &[&format!("{method} / HTTP/1.1"), "Host: {}", &format!("Origin: {origin}"), "Content-Length: 0"],
        )
    };
    for origin in
        ["http://evil.example", "null", "https://{}", "http://{}.evil.example", "http://127.0.0.1:1"]
    {
        assert_eq!(status(&with("POST", origin)), "403", "{origin}");
        assert_eq!(status(&with("GET", origin)), "403", "{origin}");
    }
    assert_eq!(status(&with("GET", "http://{}")), "200");
    // Nothing can be done in a run; a request without an origin does not come so far.
    assert_eq!(status(&with("POST", "http://{}")), "405");
    assert_eq!(status(&ask(address, &["POST / HTTP/1.1", "Host: {}", "Content-Length: 0"])), "403");
}

#[test]
fn a_token_is_given_once_and_needed_always() {
    let (_web, address) = served(Some(SECRET));
    for path in ["/", "/events", "/cell/0/record"] {
        let get = format!("GET {path} HTTP/1.1");
        assert_eq!(status(&ask(address, &[&get, "Host: {}"])), "401", "{path}");
        let cookie = format!("Cookie: natrig-{}={SECRET}", address.port());
        assert_eq!(status(&ask(address, &[&get, "Host: {}", &cookie])), "401", "the token is no cookie");
    }
    for wrong in ["", "0123456789abcdeF", "0123456789abcde", "0123456789abcdef0"] {
        let get = format!("GET /?token={wrong} HTTP/1.1");
        assert_eq!(status(&ask(address, &[&get, "Host: {}"])), "403", "{wrong}");
    }
    let welcome = ask(address, &[&format!("GET //evil.example/?token={SECRET} HTTP/1.1"), "Host: {}"]);
    assert_eq!(status(&welcome), "303");
    assert!(welcome.contains("\r\nLocation: /\r\n"), "{welcome}");
    let cookie = welcome.split_once("Set-Cookie: ").unwrap().1.lines().next().unwrap();
    assert!(cookie.ends_with("; HttpOnly; SameSite=Strict; Path=/") && !cookie.contains(SECRET), "{cookie}");
    let cookie = format!("Cookie: other=1; {}", cookie.split(';').next().unwrap());
    assert_eq!(status(&ask(address, &["GET / HTTP/1.1", "Host: {}", &cookie])), "200");
    assert_eq!(status(&ask(address, &["GET / HTTP/1.1", "Host: evil.example", &cookie])), "421");
}

#[test]
fn requests_have_bounds() {
    let (_web, address) = served(None);
    let long = "x".repeat(20_000);
    let field = format!("X: {long}");
    assert_eq!(status(&ask(address, &["GET / HTTP/1.1", "Host: {}", &field])), "431");
    assert_eq!(status(&ask(address, &[&format!("GET /{long} HTTP/1.1"), "Host: {}"])), "431");
    let body = ["POST / HTTP/1.1", "Host: {}", "Origin: http://{}", "Content-Length: 99999999"];
    assert_eq!(status(&ask(address, &body)), "413");
    for bad in ["Content-Length: -1", "Content-Length: 1\r\nContent-Length: 2", "Transfer-Encoding: chunked"]
    {
        assert_eq!(status(&ask(address, &["POST / HTTP/1.1", "Host: {}", bad])), "400", "{bad}");
    }
    assert_eq!(status(&ask(address, &["\x16\x03\x01", "Host: {}"])), "400");
    assert_eq!(status(&ask(address, &["GET http://{}/ HTTP/1.1", "Host: {}"])), "400");
    for path in ["/cell/0/../../etc/passwd", "/cell/x/record", "/cell/0/record", "/cell/0", "/x", "//"] {
        assert_eq!(status(&ask(address, &[&format!("GET {path} HTTP/1.1"), "Host: {}"])), "404", "{path}");
    }
}

#[test]
fn there_are_not_endlessly_many_connections() {
    let (_web, address) = served(None);
    let held: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
    let begun = Instant::now();
    while status(&ask(address, &["GET / HTTP/1.1", "Host: {}"])) == "200" {
        assert!(begun.elapsed() < Duration::from_secs(4), "a further connection is answered");
    }
    drop(held);
    while status(&ask(address, &["GET / HTTP/1.1", "Host: {}"])) != "200" {
        assert!(begun.elapsed() < Duration::from_secs(30), "there is no room again");
    }
}

#[test]
fn who_comes_late_and_who_comes_again_misses_nothing() {
    let (web, address) = served(None);
    let others = Mutex::new(0);
    let other = |_: Event| *others.lock().unwrap() += 1;
    let sink = web.beside(&other);
    sink.event(started(2));
    (0..5).for_each(|number| sink.event(node(0, number)));
    let early: Vec<_> = listen(address, None).take(4).collect();
    assert_eq!(early[0].1["type"], "runStarted");
    assert_eq!(early[0].1["seed"], u64::MAX.to_string());
    assert_eq!(early[3].1["event"]["number"], 2);
    // It was cut off, and comes again.
    (5..8).for_each(|number| sink.event(node(0, number)));
    let again: Vec<_> = listen(address, Some(&early[3].0)).take(5).collect();
    let numbers: Vec<_> = again.iter().map(|(_, data)| data["event"]["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [3, 4, 5, 6, 7]);
    // When a cell has ended, its brief stands for all that was told of it.
    sink.event(finished(0));
    sink.event(node(1, 9));
    let after: Vec<_> = listen(address, Some(&again[1].0)).take(2).collect();
    assert_eq!((&after[0].1["type"], &after[1].1["event"]["number"]), (&"cellFinished".into(), &9.into()));
    let late: Vec<_> = listen(address, None).take(3).map(|(_, data)| data["type"].clone()).collect();
    assert_eq!(late, ["runStarted", "cellFinished", "node"]);
    assert_eq!(*others.lock().unwrap(), 11, "the terminal is told as well");
    let record = ask(address, &["GET /cell/0/record HTTP/1.1", "Host: {}"]);
    assert!(record.ends_with("}}") && record.contains("{\"value\":{\"id\":\"cell-0\""), "{record}");
    let story = ask(address, &["GET /cell/0/story HTTP/1.1", "Host: {}"]);
    assert!(status(&story) == "200" && story.contains("was not kept"), "{story}");
}

#[test]
fn the_events_of_another_run_are_not_mixed_with_ours() {
    let (web, address) = served(None);
    web.history.take(&started(1));
    for strange in ["deadbeef-1", "1", "x", &format!("{}-99", "0".repeat(8))] {
        let lines = ["GET /events HTTP/1.1", "Host: {}", &format!("Last-Event-ID: {strange}")];
        let answer = ask(address, &lines);
        assert!(answer.contains("data: {\"type\":\"reset\"}") && !answer.contains("runStarted"), "{answer}");
    }
}

/// Somebody who does not read takes no time and no memory of the run, and is cut off. What is kept is more than a kernel takes of
/// a connection by itself.
#[test]
fn who_is_slow_does_not_slow_the_run() {
    const EVENTS: usize = 12_000;
    let history = Arc::new(History::new());
    let listener = TcpListener::bind(LOOPBACK).unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(Guard::new(address, None), Arc::clone(&history), Arc::default()).unwrap();
    server.impatient(Duration::from_millis(300)).start(listener).unwrap();
    let mut slow = TcpStream::connect(address).unwrap();
    write!(slow, "GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    history.take(&started(1));
    let begun = Instant::now();
    for number in 0..EVENTS {
        let mut event = node(0, number);
        if let What::Node { event, .. } = &mut event.what {
            event["text"] = "x".repeat(8_000).into();
        }
        history.take(&event);
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(history.kept() < 5_000, "{} entries are kept", history.kept());
    let begun = Instant::now();
    history.end(&history::end_of_run(Err("over".to_owned())), Duration::from_secs(20));
    assert!(begun.elapsed() < Duration::from_secs(15), "it was not cut off");
    // It is cut off before the end; whoever comes again gets what there is.
    slow.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut all = Vec::new();
    let _ = slow.read_to_end(&mut all);
    assert!(!String::from_utf8_lossy(&all).contains("\"ended\""));
    let again: Vec<_> = listen(address, None).collect();
    assert_eq!(again.last().unwrap().1["type"], "ended");
    assert!(again.iter().any(|(_, data)| data["event"]["number"] == EVENTS - 1));
}

/// A request for a fault, from our own page or from another origin's.
fn ask_for(address: SocketAddr, origin: &str, body: &str) -> String {
    let length = format!("Content-Length: {}", body.len());
    let mut stream = TcpStream::connect(address).unwrap();
    let origin = format!("Origin: {origin}");
    let head = ["POST /fault HTTP/1.1", "Host: {}", &origin, &length].join("\r\n");
    write!(stream, "{}\r\n\r\n{body}", head.replace("{}", &address.to_string())).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn faults_are_done_where_they_are_allowed_and_for_our_own_page_only() {
    let cut = r#"{"words": ["cut", "nat1.wan"]}"#;
    let (web, address) = served(None);
    assert_eq!(status(&ask_for(address, "http://{}", cut)), "405", "nothing is allowed");
    web.deeds.allow(Box::new(|words, _| match words {
        [cut, link] if cut == "cut" => Ok(format!("cut {link}")),
        _ => Err("that is no fault".to_owned()),
    }));
    let done = ask_for(address, "http://{}", cut);
    assert!(done.ends_with(r#"{"done":"cut nat1.wan"}"#), "{done}");
    let wrong = ask_for(address, "http://{}", r#"{"words": []}"#);
    assert!(wrong.ends_with(r#"{"problem":"that is no fault"}"#), "{wrong}");
    for origin in ["http://evil.example", "null", "https://{}"] {
        assert_eq!(status(&ask_for(address, origin, cut)), "403", "{origin}");
    }
    assert_eq!(status(&ask(address, &["POST /fault HTTP/1.1", "Host: {}", "Content-Length: 0"])), "403");
    for nonsense in ["", "{}", "[", r#"{"words": "cut"}"#, r#"{"words": [1]}"#] {
        assert_eq!(status(&ask_for(address, "http://{}", nonsense)), "400", "{nonsense}");
    }
    assert_eq!(status(&ask(address, &["GET /fault HTTP/1.1", "Host: {}"])), "404");
}

/// What takes its time ends with the page that waits for it.
#[test]
fn a_fault_is_given_up_by_a_page_that_goes() {
    let (web, address) = served(None);
    let (over, ended) = std::sync::mpsc::channel();
    web.deeds.allow(Box::new(move |_, halt| {
        let begun = Instant::now();
        while !halt.raised() && begun.elapsed() < Duration::from_secs(20) {
            std::thread::yield_now();
        }
        let _ = over.send(halt.raised());
        Ok("flap".to_owned())
    }));
    let mut stream = TcpStream::connect(address).unwrap();
    let body = r#"{"words": ["flap", "nat1.wan"]}"#;
    write!(
        stream,
        "POST /fault HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    drop(stream);
    assert!(ended.recv_timeout(Duration::from_secs(30)).unwrap());
}

#[test]
fn of_how_things_stand_the_last_word_is_kept() {
    let (web, address) = served(None);
    web.history.take(&started(1));
    for number in 0..3 {
        web.history.stands(&serde_json::json!({"type": "lab", "number": number}));
    }
    let told: Vec<_> = listen(address, None).take(2).map(|(_, data)| data).collect();
    assert_eq!((&told[0]["type"], &told[1]["number"]), (&"runStarted".into(), &2.into()));
}

#[test]
fn the_end_is_told_and_waited_for() {
    let (web, address) = served(None);
    web.history.take(&started(1));
    let follower = std::thread::spawn(move || listen(address, None).collect::<Vec<_>>());
    while web.history.followers() == 0 {
        std::thread::yield_now();
    }
    let results = Results::of(RunInfo { folder: "/some/run".into(), ..RunInfo::default() }, Vec::new(), true);
    web.end(Ok(&results));
    let told = follower.join().unwrap();
    let (_, last) = told.last().unwrap();
    assert_eq!(last["page"], "/some/run/report.html");
    assert_eq!(last["run"]["interrupted"], true);
    let begun = Instant::now();
    web.end(Err(&Failure::Lab("it broke".into())));
    assert!(begun.elapsed() < FAREWELL, "nobody is there to be waited for");
}

#[test]
fn an_address_is_told_from_a_file() {
    let words = |line: &str| line.split(' ').map(std::ffi::OsString::from).collect::<Vec<_>>();
    assert_eq!(
        joined(words("natrig run --web 127.0.0.1:80 x.yaml")),
        words("natrig run --web=127.0.0.1:80 x.yaml")
    );
    for same in
        ["natrig run --web x.yaml", "natrig run --web", "natrig run --web=[::1]:1 x", "a --web --json"]
    {
        assert_eq!(joined(words(same)), words(same));
    }
}

#[test]
fn a_record_has_no_token() {
    let of = |line: &str| unwatched(line.split(' ').map(str::to_owned)).join(" ");
    for line in [
        "natrig run --web 0.0.0.0:80 --web-token 0123456789abcdef x.yaml",
        "natrig run --web=0.0.0.0:80 --web-token=0123456789abcdef x.yaml",
        "natrig run x.yaml --web",
        "natrig run --web x.yaml",
    ] {
        assert_eq!(of(line), "natrig run x.yaml", "{line}");
    }
}
