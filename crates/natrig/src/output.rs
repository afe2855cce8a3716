//! Standard output, which may be a pipe that nobody reads any more.

use std::io::{self, ErrorKind, Write};

use crate::failure::Failure;

/// Prints lines. A reader that has seen enough is no error; a full disk is one.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| match text.ends_with('\n') {
        true => Ok(()),
        false => out.write_all(b"\n"),
    });
    match written.and_then(|()| out.flush()) {
        Err(source) if source.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::File { what: "write to", path: "standard output".into(), source })
        }
        _ => Ok(()),
    }
}

/// Says something on standard error, if it can be said.
pub fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
