//! Files from a web server.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use ureq::{
    Agent, Body,
    http::Response,
    tls::{Certificate, RootCerts, TlsConfig},
};

use crate::{Error, Result, error::Doing};

/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// No image for clouds is larger.
const LARGEST: u64 = 16 << 30;

/// How often it is told how far it is, in bytes.
const TOLD_EVERY: u64 = 64 << 20;

/// Lists of hashes and signatures are far smaller.
const LARGEST_NOTE: u64 = 1 << 20;

/// Fetches a small file.
pub(super) fn note(url: &str) -> Result<Vec<u8>> {
    let response = ask(url, 0)?;
    let read = response.into_body().into_with_config().limit(LARGEST_NOTE).read_to_vec();
    read.map_err(|error| failed(url, &error.to_string(), "try again"))
}

/// Fetches a file; one that is there in part is gone on with.
pub(super) fn file(url: &str, part: &Path, progress: &mut dyn FnMut(&str)) -> Result<()> {
    let mut file =
        File::options().create(true).truncate(false).read(true).write(true).open(part).on("open", part)?;
    let had = file.metadata().on("read", part)?.len();
    let response = match ask(url, had) {
        // What is there is more than the server has.
        Err(_) if had > 0 => {
            file.set_len(0).on("write", part)?;
            ask(url, 0)?
        }
        asked => asked?,
    };
    // A server that cannot go on begins anew.
    let (begin, whole) = match continued(&response) {
        Some((begin, whole)) if begin <= had => (begin, Some(whole)),
        Some(_) => return Err(failed(url, "the server goes on where nobody asked it to", "try again")),
        None => (0, response.body().content_length()),
    };
    if begin > 0 {
        progress(&format!("going on after {} MB", begin >> 20));
    }
    if whole.is_some_and(|whole| whole > LARGEST) {
        return Err(failed(url, "it is larger than any image for clouds", "is the address right?"));
    }
    file.set_len(begin).on("write", part)?;
    file.seek(SeekFrom::End(0)).on("write", part)?;
    let mut body = response.into_body().into_with_config().limit(LARGEST).reader();
    let mut chunk = vec![0; 1 << 18];
    let mut at = begin;
    let short = |at: u64| match whole {
        Some(whole) => format!("it ended after {at} of {whole} bytes"),
        None => format!("it ended after {at} bytes"),
    };
    loop {
        let count = match body.read(&mut chunk) {
            Ok(count) => count,
            Err(error) => return Err(failed(url, &format!("{}: {error}", short(at)), GO_ON)),
        };
        if count == 0 {
            break;
        }
        file.write_all(chunk.get(..count).unwrap_or_default()).on("write", part)?;
        let before = at;
        at += count as u64;
        if at / TOLD_EVERY > before / TOLD_EVERY {
            let of = whole.map(|whole| format!(" of {}", whole >> 20)).unwrap_or_default();
            progress(&format!("{}{of} MB", at >> 20));
        }
    }
    match whole {
        Some(whole) if at < whole => Err(failed(url, &short(at), GO_ON)),
        _ => Ok(()),
    }
}

const GO_ON: &str = "what came is kept; the same command goes on from there";

/// Asks for a file from some byte on.
fn ask(url: &str, from: u64) -> Result<Response<Body>> {
    let certificates = rustls_native_certs::load_native_certs().certs;
    let certificates =
        certificates.iter().map(|one| Certificate::from_der(one.as_ref()).to_owned()).collect();
    let tls = TlsConfig::builder().root_certs(RootCerts::Specific(Arc::new(certificates)));
    let tls = tls.unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .tls_config(tls.build())
        .timeout_connect(Some(SILENCE))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .build()
        .into();
    let mut request = agent.get(url).header("Accept-Encoding", "identity");
    if from > 0 {
        request = request.header("Range", format!("bytes={from}-"));
    }
    let response = request.call().map_err(|error| {
        failed(
            url,
            &error.to_string(),
            "is there a network? A disk that is there already can be named by its path",
        )
    })?;
    match response.status().as_u16() {
        200 => Ok(response),
        206 if from > 0 => Ok(response),
        404 | 410 => {
            Err(failed(url, "there is no such file", "publishers move old images away: see the recipe"))
        }
        status => Err(failed(url, &format!("the server answers {status}"), "try again later")),
    }
}

/// Where an answer goes on, and how long the whole file is.
fn continued(response: &Response<Body>) -> Option<(u64, u64)> {
    if response.status().as_u16() != 206 {
        return None;
    }
    let range = response.headers().get("content-range")?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, whole) = range.split_once('/')?;
    let (begin, _) = range.split_once('-')?;
    Some((begin.parse().ok()?, whole.parse().ok()?))
}

fn failed(url: &str, why: &str, hint: &str) -> Error {
    Error::Cloud { what: format!("cannot fetch {url}: {why}"), hint: hint.to_owned() }
}
