//! `natrig nat`.

use std::{
    fmt::Write as _,
    fs,
    io::{ErrorKind, Read},
    path::Path,
};

use natrig_lab::Topology;
use natrig_nat::{
    Profile,
    profile::{Allocation, Named},
    ruleset::Ruleset,
};
use natrig_report::{Style, columns};
use natrig_scenario::{Gateway, Nat, Scenario, Site};
use serde::Serialize;
use serde_json::json;

use crate::{cli::NatCommand, failure::Failure, output::print};

/// The largest file that is read.
const MAX_BYTES: u64 = 256 * 1024;

/// Lists, shows, explains or measures gateway profiles.
pub fn nat(what: NatCommand) -> Result<u8, Failure> {
    let text = match what {
        NatCommand::List { json: false } => {
            let rows = Named::all().iter().map(row).collect::<Vec<_>>();
            columns(&HEADS, &rows, Style::of(&std::io::stdout()))
        }
        NatCommand::List { json: true } => pretty(&Named::all().iter().map(Listed::of).collect::<Vec<_>>()),
        NatCommand::Show { profile, json: true, .. } => pretty(&Listed::of(&find(&profile)?)),
        NatCommand::Show { profile, nft: true, .. } => rulesets(&find(&profile)?)?,
        NatCommand::Show { profile, .. } => find(&profile)?.to_yaml(),
        NatCommand::Explain { profile } => find(&profile)?.explain(),
        #[cfg(feature = "machines")]
        NatCommand::Kernels(arguments) => return crate::kernels::compare(&arguments),
    };
    print(&text)?;
    Ok(0)
}

/// The profile with this name, or in the file of this name.
fn find(name: &str) -> Result<Named, Failure> {
    match source(name)? {
        Source::Catalogue(named) => Ok(named),
        Source::File(text) => Ok(natrig_scenario::profile(name, &text)?),
    }
}

/// What may stand before a site: the profile with this name, or what the file of this name says, with its engines.
pub(crate) fn gateways(name: &str) -> Result<Nat, Failure> {
    match source(name)? {
        Source::Catalogue(named) => Ok(Nat::of(&named)),
        Source::File(text) => Ok(natrig_scenario::gateways(name, &text)?),
    }
}

/// Where a profile comes from.
enum Source {
    Catalogue(Named),
    File(String),
}

fn source(name: &str) -> Result<Source, Failure> {
    let unknown = match Named::find(name) {
        Ok(named) => return Ok(Source::Catalogue(named)),
        Err(unknown) => unknown,
    };
    let path = Path::new(name);
    let is_file = fs::metadata(path).is_ok_and(|found| !found.is_dir());
    let is_meant = name.contains('/') || path.extension().is_some_and(|end| end == "yaml" || end == "yml");
    if !is_file && !is_meant {
        return Err(Failure::Usage(format!(
            "{unknown}\nhint: `natrig nat list` shows all; a file goes by its path"
        )));
    }
    let failed = |source| Failure::File { what: "read", path: path.to_owned(), source };
    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(failed)?;
    if text.len() as u64 > MAX_BYTES {
        let source =
            std::io::Error::new(ErrorKind::FileTooLarge, format!("a profile may have {MAX_BYTES} bytes"));
        return Err(failed(source));
    }
    Ok(Source::File(text))
}

/// What the kernels of its gateways would be given before site 1 of a lab.
fn rulesets(named: &Named) -> Result<String, Failure> {
    let scenario = json!({ "name": "a lab", "nat1": named, "nat2": "public", "expected": "relay" });
    let mut text = String::new();
    for scenario in Scenario::parse(&named.name, &scenario.to_string())? {
        for place in Topology::of(&scenario).gateways().iter().filter(|place| place.site == Site::ONE) {
            let profile = &place.gateway.profile;
            let ruleset = Ruleset::compile(profile, &place.addresses).map_err(|lacks| {
                let lacks: Vec<String> = lacks.iter().map(|lack| format!("\n  {lack}")).collect();
                Failure::Usage(format!(
                    "stock nftables cannot be `{}`:{}\nhint: natrig's model can; `engine: auto` takes it",
                    profile.name,
                    lacks.concat()
                ))
            })?;
            text += ruleset.text();
            for (name, value) in ruleset.sysctls() {
                let _ = writeln!(text, "# sysctl -w {name}={value}");
            }
        }
    }
    Ok(text)
}

/// A profile and what makes each of its gateways, as `engine: auto` chooses.
#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    named: &'a Named,
    engines: Vec<&'static str>,
}

impl<'a> Listed<'a> {
    fn of(named: &'a Named) -> Self {
        Listed { named, engines: named.chain.iter().map(engine).collect() }
    }
}

fn engine(profile: &Profile) -> &'static str {
    Gateway::auto(profile.clone()).engine.name()
}

const HEADS: [&str; 7] = ["name", "mapping", "filtering", "ports", "UDP timers", "engine", "what it is"];

fn row(named: &Named) -> [String; 7] {
    [
        named.name.clone(),
        each(named, |profile| profile.mapping.map_or("none".to_owned(), |mapping| mapping.to_string())),
        each(named, |profile| profile.filtering.to_string()),
        each(named, ports),
        each(named, timers),
        each(named, |profile| engine(profile).to_owned()),
        named.summary.clone(),
    ]
}

/// What a chain's gateways say, once if they say the same.
fn each(named: &Named, say: impl Fn(&Profile) -> String) -> String {
    let mut said: Vec<String> = named.chain.iter().map(say).collect();
    said.dedup();
    said.join(" → ")
}

fn ports(profile: &Profile) -> String {
    let ports = &profile.ports;
    if profile.mapping.is_none() {
        return "as they are".to_owned();
    }
    let found = match ports.allocation {
        Allocation::Preserving => "kept or none".to_owned(),
        Allocation::PreservingUntilCollision => "kept".to_owned(),
        Allocation::Random => "random".to_owned(),
        Allocation::Sequential { delta } => format!("+{delta}"),
    };
    let block = ports.block.map(|block| match block.most {
        1 => format!(" in {}", block.size),
        most => format!(" in {most} × {}", block.size),
    });
    let shared = if ports.overload { ", shared" } else { "" };
    format!("{found}{}{shared}", block.unwrap_or_default())
}

fn timers(profile: &Profile) -> String {
    let timers = &profile.timers;
    if profile.udp_blocked || profile.mapping.is_none() {
        return "-".to_owned();
    }
    let said = |time| humantime::format_duration(time).to_string();
    match timers.unreplied == timers.stream {
        true => said(timers.stream),
        false => format!("{}, {}", said(timers.unreplied), said(timers.stream)),
    }
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|error| error.to_string())
}
