//! From an app file to an [`App`].

use std::path::{Path, PathBuf};

use super::{
    App, AppPackage, AppProof, Brought, Deed, Part, Pattern, Role, Sign, Stop, Template,
    template::BadTemplate,
};
use crate::{
    Machine,
    fields::{self, Fields, Mistakes},
    problem::Mistake,
    quantity,
    yaml::{Node, Value},
};

const KEYS: [&str; 10] =
    ["name", "files", "packages", "libraries", "sysroot", "env", "stun", "bootstrap", "relay", "peer"];

const OF_PUBLIC: [&str; 3] = ["command", "started", "stop"];

const OF_PEERS: [&str; 12] = [
    "command",
    "started",
    "stop",
    "bootstrapped",
    "connect",
    "connected",
    "failed",
    "settled",
    "send",
    "received",
    "carry",
    "delivered",
];

/// Signs by their keys, and the names of omerta-mesh's events that mean the same.
const SIGNS: [(&str, &str); 6] = [
    ("bootstrapped", "bootstrapped"),
    ("connected", "connected"),
    ("failed", "connectFailed"),
    ("settled", "settled"),
    ("received", "messageReceived"),
    ("delivered", "delivered"),
];

/// The largest expression, compiled; what files say is not trusted with all memory.
const LARGEST_PATTERN: usize = 1 << 20;

pub(super) fn app(root: &Node, file: &str, mistakes: &mut Mistakes) -> Option<App> {
    let fields = Fields::open(root, "an app", &KEYS, mistakes)?;
    let folder = Path::new(file).parent().unwrap_or(Path::new("")).to_owned();
    let name = fields.need("name", "what it is called in reports, such as `name: ice`", mistakes);
    let name = name.and_then(|node| fields::text(node, "`name`", mistakes));
    let files = items(&fields, "files", mistakes, |node, mistakes| brought(node, &folder, mistakes));
    let packages = items(&fields, "packages", mistakes, |node, mistakes| package(node, &folder, mistakes));
    let libraries = items(&fields, "libraries", mistakes, library);
    let sysroot = fields.find("sysroot").and_then(|node| path(node, "`sysroot`", &folder, mistakes));
    let env = fields.find("env").map(|node| environment(node, mistakes)).unwrap_or_default();
    let mut public = Vec::new();
    for role in Role::PUBLIC {
        if let Some(node) = fields.find(role.name())
            && let Some(fields) = Fields::open(node, "a program on public machines", &OF_PUBLIC, mistakes)
            && let Some(part) = part(&fields, role, mistakes)
        {
            public.push((role, part));
        }
    }
    let hint = "what runs on the peers, at least `peer: {command: [...], connect: ..., connected: ...}`";
    let node = fields.need("peer", hint, mistakes)?;
    let fields = Fields::open(node, "`peer`", &OF_PEERS, mistakes)?;
    let peer = part(&fields, Role::Peer, mistakes);
    let hint = "such as `connect: {input: \"connect {peer.id}\"}`";
    let connect = fields.need("connect", hint, mistakes).and_then(|node| deed(node, "connect", mistakes));
    let proof = proof(&fields, mistakes);
    let (peer, connect) = (peer?, connect?);
    consistent(&fields, &peer, &connect, mistakes);
    let app = App {
        name: name?.to_owned(),
        file: file.to_owned(),
        folder: folder.clone(),
        files,
        packages,
        libraries,
        sysroot,
        env,
        public,
        peer,
        connect,
        proof: proof?,
    };
    introduced(&app, &fields, mistakes);
    Some(app)
}

/// Notes commands that need the ID of what does not run before them.
fn introduced(app: &App, fields: &Fields<'_>, mistakes: &mut Mistakes) {
    let roles: Vec<Role> = app.public.iter().map(|(role, _)| *role).collect();
    let before = |place: &str, those: &[Role]| {
        let role = Role::PUBLIC.into_iter().find(|role| place.strip_suffix(".id") == Some(role.name()));
        role.filter(|role| !those.contains(role))
    };
    let public = app.public.iter().enumerate().map(|(at, (_, part))| (part.command.as_slice(), &roles[..at]));
    for (command, those) in public.chain([(app.peer.command.as_slice(), roles.as_slice())]) {
        if let Some(role) = command.iter().flat_map(Template::places).find_map(|place| before(place, those)) {
            mistakes.0.push(
                Mistake::new(fields.at(), format!("`{{{role}.id}}` is used, and no `{role}` runs before"))
                    .hint("they are started in this order: stun, bootstrap, relay, peer"),
            );
        }
    }
}

/// The items of a list that may be left out.
fn items<T>(
    fields: &Fields<'_>,
    key: &str,
    mistakes: &mut Mistakes,
    mut read: impl FnMut(&Node, &mut Mistakes) -> Option<T>,
) -> Vec<T> {
    let Some(node) = fields.find(key) else { return Vec::new() };
    let items = fields::list(node, &format!("`{key}`"), mistakes).unwrap_or_default();
    items.iter().filter_map(|item| read(item, mistakes)).collect()
}

fn path(node: &Node, what: &str, folder: &Path, mistakes: &mut Mistakes) -> Option<PathBuf> {
    fields::text(node, what, mistakes).map(|text| folder.join(text))
}

fn brought(node: &Node, folder: &Path, mistakes: &mut Mistakes) -> Option<Brought> {
    let Value::Map(_) = node.value else {
        let from = path(node, "a file", folder, mistakes)?;
        let Some(to) = from.file_name().map(|name| name.to_string_lossy().into_owned()) else {
            return mistakes.add(
                Mistake::new(node.at.clone(), "this path names no file")
                    .hint("with `{from: ..., to: ...}` it can have another name in the machines"),
            );
        };
        return Some(Brought { from, to, mode: None });
    };
    let fields = Fields::open(node, "a file", &["from", "to", "mode"], mistakes)?;
    let from = fields.need("from", "its path, from this file's folder", mistakes)?;
    let from = path(from, "`from`", folder, mistakes);
    let to = fields.need("to", "its path in the machines, below /app", mistakes)?;
    let inside = fields::text(to, "`to`", mistakes)?;
    let inside = inside.strip_prefix("/app/").unwrap_or(inside);
    let plain = !inside.starts_with('/')
        && Path::new(inside).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if !plain {
        return mistakes.add(
            Mistake::new(to.at.clone(), format!("`{inside}` is no path below /app"))
                .hint("such as `to: bin/node`"),
        );
    }
    let mode = match fields.find("mode") {
        Some(node) => Some(mode(node, mistakes)?),
        None => None,
    };
    Some(Brought { from: from?, to: inside.to_owned(), mode })
}

/// Permissions in octal digits, which YAML takes for a number.
fn mode(node: &Node, mistakes: &mut Mistakes) -> Option<u16> {
    let digits = match &node.value {
        Value::Text(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    u16::from_str_radix(&digits, 8).ok().filter(|mode| *mode <= 0o777).or_else(|| {
        mistakes
            .add(Mistake::new(node.at.clone(), "`mode` is three octal digits").hint("such as `mode: 755`"))
    })
}

fn package(node: &Node, folder: &Path, mistakes: &mut Mistakes) -> Option<AppPackage> {
    let text = fields::text(node, "a package", mistakes)?;
    if text.ends_with(".deb") {
        return Some(AppPackage::File(folder.join(text)));
    }
    // Debian's Policy, 5.6.1: what does not look like that never reaches apt.
    let sound = text.len() > 1
        && text.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c));
    if sound {
        return Some(AppPackage::Named(text.to_owned()));
    }
    mistakes.add(
        Mistake::new(node.at.clone(), format!("`{}` is no name of a Debian package", fields::shorten(text)))
            .hint("such as `python3`, or a `.deb` file"),
    )
}

fn library(node: &Node, mistakes: &mut Mistakes) -> Option<String> {
    let text = fields::text(node, "a library", mistakes)?;
    if text.contains(".so") && !text.contains('/') {
        return Some(text.to_owned());
    }
    mistakes.add(
        Mistake::new(node.at.clone(), format!("`{}` is no name of a shared library", fields::shorten(text)))
            .hint("such as `libnss_dns.so.2`"),
    )
}

fn environment(node: &Node, mistakes: &mut Mistakes) -> Vec<(String, String)> {
    let Value::Map(entries) = &node.value else {
        mistakes.wanted::<()>(node, "`env`", "a mapping of names to values");
        return Vec::new();
    };
    let mut env = Vec::new();
    for (key, value) in entries {
        if key.text.is_empty() || key.text.contains(['=', '\0']) {
            mistakes.0.push(
                Mistake::new(key.at.clone(), "this is no name of a variable").hint("such as `LEVEL: debug`"),
            );
        } else if let Some(text) = fields::text(value, &format!("`{}`", key.text), mistakes) {
            env.push((key.text.clone(), text.to_owned()));
        }
    }
    env
}

fn part(fields: &Fields<'_>, role: Role, mistakes: &mut Mistakes) -> Option<Part> {
    let command = fields.need("command", "a list: the program and its arguments", mistakes);
    let command = command.and_then(|node| words(node, "`command`", of_command, mistakes));
    let started = fields.find("started").and_then(|node| sign(node, "started", mistakes));
    let mut signs = Vec::new();
    let mut settles_after = None;
    for (key, event) in SIGNS {
        let Some(node) = fields.find(key) else { continue };
        match after(node, mistakes).filter(|_| key == "settled") {
            Some(after) => settles_after = Some(after),
            None => signs.extend(sign(node, key, mistakes).map(|sign| (event, sign))),
        }
    }
    if role == Role::Peer {
        let hint = "what shows that it has a way to the other one, such as `connected: {line: connected}`";
        fields.need("connected", hint, mistakes)?;
    }
    let stop = match fields.find("stop") {
        Some(node) => Some(stop(node, mistakes)?),
        None => None,
    };
    Some(Part { command: command?, started, signs, settles_after, stop })
}

/// The time of `{after: 5s}`; none if it is something else.
fn after(node: &Node, mistakes: &mut Mistakes) -> Option<std::time::Duration> {
    let Value::Map(entries) = &node.value else { return None };
    let [(key, value)] = entries.as_slice() else { return None };
    (key.text == "after").then(|| time(value, "`after`", mistakes)).flatten()
}

fn time(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<std::time::Duration> {
    quantity::time(&node.value).filter(|time| !time.is_zero()).or_else(|| {
        mistakes.add(
            Mistake::new(node.at.clone(), format!("{what} must be a time with its unit"))
                .hint("such as `5s`"),
        )
    })
}

fn sign(node: &Node, key: &str, mistakes: &mut Mistakes) -> Option<Sign> {
    let known: &[&str] = match key {
        "started" => &["line", "event", "port"],
        "connected" | "failed" => &["line", "event", "exit"],
        "settled" => &["line", "event", "after"],
        _ => &["line", "event"],
    };
    let what = format!("`{key}`");
    let Value::Map(entries) = &node.value else {
        return mistakes.add(
            Mistake::new(node.at.clone(), format!("{what} must be a sign, not {}", node.value.noun()))
                .hint("such as `{line: 'connected to (?P<peer>.+)'}`"),
        );
    };
    Fields::open(node, &what, known, mistakes)?;
    let [(kind, value)] = entries.as_slice() else {
        return mistakes.add(
            Mistake::new(node.at.clone(), format!("{what} has {} signs", entries.len()))
                .hint(format!("one of {}", known.join(", "))),
        );
    };
    match kind.text.as_str() {
        "line" => pattern(value, mistakes).map(Sign::Line),
        "event" => fields::text(value, "`event`", mistakes).map(|text| Sign::Event(text.to_owned())),
        "port" => port(value, mistakes),
        "exit" => match value.value {
            Value::Number(code) if (0.0..=255.0).contains(&code) && code.fract() == 0.0 => {
                Some(Sign::Exit(code as i32))
            }
            _ => mistakes.wanted(value, "`exit`", "a code from 0 to 255"),
        },
        // A key that means nothing here was noted above.
        _ => None,
    }
}

fn pattern(node: &Node, mistakes: &mut Mistakes) -> Option<Pattern> {
    let text = fields::text(node, "`line`", mistakes)?;
    let compiled = regex::RegexBuilder::new(text).size_limit(LARGEST_PATTERN).build();
    match compiled {
        Ok(regex) => Some(Pattern(regex)),
        Err(error) => {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
            mistakes.add(Mistake::new(node.at.clone(), format!("this is no regular expression: {why}")).hint(
                "brackets and dots that mean themselves have a `\\` before them; single quotes keep it",
            ))
        }
    }
}

fn port(node: &Node, mistakes: &mut Mistakes) -> Option<Sign> {
    let text = match &node.value {
        Value::Text(text) => text.as_str(),
        _ => "",
    };
    let sign = text.split_once('/').and_then(|(protocol, port)| {
        let port = port.parse().ok().filter(|port| *port > 0)?;
        match protocol {
            "udp" => Some(Sign::Port { udp: true, port }),
            "tcp" => Some(Sign::Port { udp: false, port }),
            _ => None,
        }
    });
    sign.or_else(|| {
        mistakes.add(
            Mistake::new(node.at.clone(), "`port` is a protocol and a number")
                .hint("such as `port: udp/3478`"),
        )
    })
}

fn deed(node: &Node, key: &str, mistakes: &mut Mistakes) -> Option<Deed> {
    let what = format!("`{key}`");
    let known = if key == "send" { of_send } else { of_pair };
    let fields = Fields::open(node, &what, &["input", "run"], mistakes)?;
    match (fields.find("input"), fields.find("run")) {
        (Some(input), None) => template(input, "`input`", known, mistakes).map(Deed::Input),
        (None, Some(run)) => words(run, "`run`", known, mistakes).map(Deed::Run),
        _ => mistakes.add(
            Mistake::new(node.at.clone(), format!("{what} is either `input` or `run`"))
                .hint("a line on its standard input, or another program"),
        ),
    }
}

fn words(node: &Node, what: &str, known: fn(&str) -> bool, mistakes: &mut Mistakes) -> Option<Vec<Template>> {
    let items = fields::list(node, what, mistakes)?;
    let words: Vec<_> = items.iter().filter_map(|item| template(item, "a word", known, mistakes)).collect();
    (words.len() == items.len()).then_some(words)
}

fn template(node: &Node, what: &str, known: fn(&str) -> bool, mistakes: &mut Mistakes) -> Option<Template> {
    let text = fields::text(node, what, mistakes)?;
    Template::parse(text, known).map_or_else(
        |bad| {
            let hint = match &bad {
                BadTemplate::Brace(brace) => format!("`{brace}{brace}` is a `{brace}` in the text"),
                BadTemplate::Unknown(place) => {
                    let places = OF_MACHINE.iter().chain(&OF_OTHER).chain(&OF_PUBLIC_IDS).chain(&["relay"]);
                    fields::meant(place, places.copied().filter(|place| known(place)))
                }
            };
            mistakes.add(Mistake::new(node.at.clone(), bad.to_string()).hint(hint))
        },
        Some,
    )
}

const OF_MACHINE: [&str; 5] = ["name", "address", "number", "port", "stun"];
const OF_OTHER: [&str; 5] = ["peer.id", "peer.name", "peer.address", "peer.number", "file"];
const OF_PUBLIC_IDS: [&str; 3] = ["relay.id", "bootstrap.id", "stun.id"];

/// What is known when a program is started.
fn of_command(place: &str) -> bool {
    let public = place.strip_suffix(".address").unwrap_or(place);
    let machine = public.parse::<Machine>().is_ok_and(|machine| machine.public().is_some());
    OF_MACHINE.contains(&place) || OF_PUBLIC_IDS.contains(&place) || machine
}

/// What is known when two are to connect.
fn of_pair(place: &str) -> bool {
    of_command(place) || place != "file" && OF_OTHER.contains(&place)
}

fn of_send(place: &str) -> bool {
    of_pair(place) || place == "file"
}

fn proof(fields: &Fields<'_>, mistakes: &mut Mistakes) -> Option<AppProof> {
    let ways = ["send", "carry", "delivered"];
    let mut given = ways.into_iter().filter_map(|key| Some((key, fields.find(key)?)));
    match (given.next(), given.next()) {
        (Some(("send", node)), None) => {
            fields.need("received", "what says where the other one's bytes are", mistakes)?;
            deed(node, "send", mistakes).map(AppProof::Send)
        }
        (Some(("carry", node)), None) => carry(node, mistakes),
        (Some(_), None) => Some(AppProof::Delivered),
        (None, _) => mistakes.add(Mistake::new(fields.at(), "nothing shows which way its traffic takes").hint(
            "`send` and `received` where it can carry files, `carry` where it makes a network, `delivered` where it sends by itself",
        )),
        (Some((one, _)), Some((other, node))) => mistakes.add(
            Mistake::new(node.at.clone(), format!("both `{one}` and `{other}` say how its path is found"))
                .hint("one of them is enough"),
        ),
    }
}

fn carry(node: &Node, mistakes: &mut Mistakes) -> Option<AppProof> {
    if let Value::Text(text) = &node.value {
        let to = template(node, "`carry`", of_pair, mistakes)?;
        let at = format!("0.0.0.0:{}", text.rsplit_once(':').map_or("", |(_, port)| port));
        return endpoint(node, &at, mistakes).map(|at| AppProof::Carry { to, at });
    }
    let fields = Fields::open(node, "`carry`", &["to", "at"], mistakes)?;
    let to = fields.need("to", "where the lab connects to, such as `127.0.0.1:7001`", mistakes);
    let to = to.and_then(|node| template(node, "`to`", of_pair, mistakes));
    let at = fields.need("at", "where it listens in the other machine", mistakes)?;
    let text = fields::text(at, "`at`", mistakes)?;
    let at = endpoint(at, text, mistakes);
    Some(AppProof::Carry { to: to?, at: at? })
}

fn endpoint(node: &Node, text: &str, mistakes: &mut Mistakes) -> Option<Template> {
    if text.parse::<std::net::SocketAddrV4>().is_err() {
        return mistakes.add(
            Mistake::new(node.at.clone(), "an address ends with its port")
                .hint("such as `{peer.address}:7000`, or `127.0.0.1:7000`"),
        );
    }
    Template::parse(text, |_| false).ok()
}

fn stop(node: &Node, mistakes: &mut Mistakes) -> Option<Stop> {
    let signals = [("HUP", 1), ("INT", 2), ("QUIT", 3), ("USR1", 10), ("USR2", 12), ("TERM", 15)];
    let fields = Fields::open(node, "`stop`", &["signal", "within"], mistakes)?;
    let signal = match fields.find("signal") {
        Some(node) => fields::word(node, "signal", &signals, mistakes),
        None => Some(15),
    };
    let within = fields.need("within", "how long it may take, such as `within: 5s`", mistakes)?;
    let within = time(within, "`within`", mistakes);
    Some(Stop { signal: signal?, within: within? })
}

/// Notes what cannot go together.
fn consistent(fields: &Fields<'_>, peer: &Part, connect: &Deed, mistakes: &mut Mistakes) {
    let by_exit = peer.signs.iter().any(|(_, sign)| matches!(sign, Sign::Exit(_)));
    if by_exit && matches!(connect, Deed::Input(_)) {
        mistakes.0.push(
            Mistake::new(fields.at(), "nothing is run whose end could be a sign")
                .hint("`exit` goes with `connect: {run: [...]}`"),
        );
    }
    if peer.sign("messageReceived").is_some() && fields.find("send").is_none() {
        mistakes.0.push(
            Mistake::new(fields.at(), "`received` means nothing without `send`")
                .hint("what arrives by itself is `delivered`"),
        );
    }
    if peer.sign("settled").is_some() && peer.settles_after.is_some() {
        mistakes.0.push(Mistake::new(fields.at(), "`settled` is said twice"));
    }
}
