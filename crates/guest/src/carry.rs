//! Carries a file over TCP, for nodes that make a network and cannot be asked to.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    time::{Duration, Instant},
};

/// How long a sender tries: what a node makes lead there may take its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long it waits between two tries.
const AGAIN: Duration = Duration::from_millis(200);

/// `listen ADDRESS FILE` takes one file and says `ready`, then `received`; `send ADDRESS FILE` sends one.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let [what, address, file] = arguments else {
        return Err("usage: carry listen|send IP:PORT FILE".to_owned());
    };
    let done = match what.as_str() {
        "listen" => listen(address, file),
        "send" => send(address, file),
        _ => return Err(format!("carry: `{what}` is neither listen nor send")),
    };
    done.map_err(|error| format!("carry: {what} {address}: {error}"))
}

fn listen(address: &str, file: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("ready");
    let (mut stream, from) = listener.accept()?;
    let bytes = io::copy(&mut stream, &mut File::create(file)?)?;
    println!("received {bytes} bytes of {from}");
    Ok(())
}

fn send(address: &str, file: &str) -> io::Result<()> {
    let content = std::fs::read(file)?;
    let since = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) if since.elapsed() > PATIENCE => return Err(error),
            Err(_) => std::thread::sleep(AGAIN),
        }
    };
    stream.write_all(&content)?;
    stream.shutdown(Shutdown::Write)?;
    // Until the other one has it all and closes.
    stream.read_to_end(&mut Vec::new())?;
    println!("sent {} bytes", content.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_carried_whole() {
        let home = std::env::temp_dir().join(format!("natrig-carry-{}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        let [from, to] = ["from", "to"].map(|name| home.join(name).to_str().unwrap().to_owned());
        std::fs::write(&from, [7; 100_000]).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        std::thread::scope(|scope| {
            let listening = scope.spawn(|| listen(&port, &to));
            send(&port, &from).unwrap();
            listening.join().unwrap().unwrap();
        });
        assert_eq!(std::fs::read(&to).unwrap(), [7; 100_000]);
        std::fs::remove_dir_all(&home).unwrap();
    }

    #[test]
    fn what_is_no_errand_says_so() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(run(&words("listen")).unwrap_err().contains("usage"));
        assert!(run(&words("bring 127.0.0.1:1 x")).unwrap_err().contains("neither"));
        assert!(run(&words("listen nowhere x")).unwrap_err().contains("carry: listen nowhere"));
    }
}
