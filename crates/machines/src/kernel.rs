//! A gateway made by its kernel: a ruleset loaded, emptied, read back.

use std::{fs, path::Path};

use natrig_nat::{Preset, Profile, engine::Addresses, ruleset::Ruleset};
use natrig_scenario::Machine;

use crate::{
    Lab, Trouble,
    gateway::{PATIENCE, expect},
    model,
};

const RULES: &str = "/run/natrig.nft";
const FLUSH: &str = "/run/flush.nft";
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// Loads a gateway's ruleset, and writes it beside the evidence.
pub fn load(
    lab: &Lab,
    gateway: Machine,
    profile: &Profile,
    addresses: &Addresses,
    folder: &Path,
) -> Result<(), Trouble> {
    let member = lab.member(gateway)?;
    // It would see every packet as well.
    model::stop(member)?;
    let ruleset = ruleset(profile, addresses)?;
    fs::write(folder.join(format!("{gateway}.nft")), ruleset.text())?;
    let agent = member.agent();
    agent.write_file(RULES, 0o644, ruleset.text().into())?;
    agent.write_file(FLUSH, 0o644, ruleset.flush().into())?;
    expect(agent, &["nft", "-f", RULES])?;
    Ok(())
}

/// Empties conntrack, maps and sets, shows that they are empty, and gives the listing that must still be there after the
/// cell.
pub fn flush(lab: &Lab, gateway: Machine) -> Result<String, Trouble> {
    let script = format!("nft -f {FLUSH} && conntrack -F >/dev/null 2>&1 && nft -s list ruleset");
    let agent = lab.agent(gateway)?;
    let output = expect(agent, &["sh", "-c", &script])?;
    let count = connections(lab, gateway)?;
    if count != 0 {
        return Err(Trouble::lab(format!("{count} connections are left after the flush")));
    }
    let rules = String::from_utf8_lossy(&output.stdout).into_owned();
    if rules.contains("elements = {") {
        return Err(Trouble::lab("maps or sets are not empty after the flush")
            .lines(rules.lines().filter(|line| line.contains("elements")).map(str::to_owned)));
    }
    Ok(normal(&rules))
}

/// How many connections a gateway's kernel tracks.
pub fn connections(lab: &Lab, gateway: Machine) -> Result<usize, Trouble> {
    // Asked of the agent: one more program costs an emulated guest 40 ms.
    let count = lab.agent(gateway)?.read_file(COUNT, 64)?;
    let count = String::from_utf8_lossy(&count);
    count.trim().parse().map_err(|_| Trouble::lab(format!("`{}` is no count of connections", count.trim())))
}

/// Writes a gateway's connections and rules beside the evidence; gives the listing.
pub fn gather(lab: &Lab, gateway: Machine, folder: &Path) -> Result<String, Trouble> {
    let agent = lab.agent(gateway)?;
    let table = agent.run(&["conntrack", "-L"], &[], PATIENCE)?;
    fs::write(folder.join(format!("{gateway}.conntrack")), &table.stdout)?;
    let rules = expect(agent, &["nft", "-s", "list", "ruleset"])?;
    fs::write(folder.join(format!("{gateway}.ruleset")), &rules.stdout)?;
    Ok(normal(&String::from_utf8_lossy(&rules.stdout)))
}

/// The names of the files that [`load`] and [`gather`] write.
pub fn evidence(gateway: Machine) -> Vec<String> {
    ["nft", "conntrack", "ruleset"].map(|kind| format!("{gateway}.{kind}")).into()
}

fn ruleset(profile: &Profile, _addresses: &Addresses) -> Result<Ruleset, Trouble> {
    let preset = Preset::ALL.into_iter().find(|preset| {
        // A name changes nothing.
        Profile { name: profile.name.clone(), ..Profile::of(*preset) } == *profile
    });
    preset
        .map(Ruleset::of)
        .ok_or_else(|| Trouble::lab(format!("the profile `{}` has no ruleset yet", profile.name)))
}

/// A listing without the elements of its maps and sets.
fn normal(listing: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for line in listing.lines() {
        let trimmed = line.trim();
        inside |= trimmed.starts_with("elements = {");
        if !inside {
            text.push_str(line);
            text.push('\n');
        }
        inside &= !trimmed.ends_with('}');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_compared_without_its_elements() {
        let empty = "table ip natrig {\n\tmap rev {\n\t\ttimeout 2m\n\t}\n}\n";
        let one = "table ip natrig {\n\tmap rev {\n\t\ttimeout 2m\n\t\telements = { 10.0.1.2 . 1 : 1.1.1.1 . 1 }\n\t}\n}\n";
        let many =
            "table ip natrig {\n\tmap rev {\n\t\ttimeout 2m\n\t\telements = { 1,\n\t\t\t     2 }\n\t}\n}\n";
        assert_eq!(normal(one), empty);
        assert_eq!(normal(many), empty);
        assert_ne!(normal(&one.replace("2m", "3m")), empty);
    }
}
