//! `natrig explain`.

use std::{fmt::Write as _, path::PathBuf};

use natrig_scenario::{
    Expected, Moment, Scenario, Truth,
    coverage::{Coverage, Covered},
};

use crate::{failure::Failure, list, matrix, output::print};

/// Says what a cell tests and why its path is what it is, or what proves a case of the test plan.
pub fn explain(id: &str, files: &[PathBuf]) -> Result<u8, Failure> {
    let mut cells: Vec<Scenario> = matrix::of(&[])?;
    // They are in no file that is there.
    cells.iter_mut().for_each(|cell| cell.file = None);
    let standard = [PathBuf::from("scenarios")];
    let files = match files {
        [] if standard[0].is_dir() => &standard[..],
        files => files,
    };
    cells.extend(list::scenarios_in(files)?);
    let of_plan = Coverage::standard().all().find(|one| one.id.eq_ignore_ascii_case(id));
    let mut text = String::new();
    if let Some(covered) = of_plan {
        text.push_str(&case(covered));
    }
    match cells.iter().find(|cell| cell.id.eq_ignore_ascii_case(id)) {
        Some(found) => text.push_str(&cell(found)),
        None if of_plan.is_none() => return Err(Failure::Usage(unknown(id, &cells))),
        None => {}
    }
    print(&text)?;
    Ok(0)
}

fn case(covered: &Covered) -> String {
    let mut text = format!("{}: {}\n", covered.id, covered.what);
    for shown in &covered.by {
        let _ = writeln!(text, "  shown by {shown}");
    }
    if let Some(lacks) = &covered.lacks {
        let _ = writeln!(text, "  lacks {lacks}");
    }
    text.push('\n');
    text
}

fn cell(cell: &Scenario) -> String {
    let place = cell.file.as_deref().unwrap_or("natrig matrix");
    let mut text = format!("{} ({place}): {}\n", cell.id, cell.name);
    for covered in Coverage::standard()
        .all()
        .filter(|one| one.id != cell.id && one.by.iter().any(|by| by.is_cell(&cell.id)))
    {
        let _ = writeln!(text, "  shows {}: {}", covered.id, covered.what);
    }
    let [initiator, responder] = cell.pair();
    let _ = writeln!(text, "  {initiator} connects to {responder}; the path must be: {}", cell.expected);
    for (at, fault) in cell.faults.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| cell.faults.get(before)).map(|fault| fault.after);
        if before != Some(fault.after) {
            let _ = writeln!(text, "  {}", when(fault.after));
        }
        let _ = writeln!(text, "    {}", fault.action);
    }
    for link in &cell.links {
        let _ = writeln!(text, "  link {link}");
    }
    for talk in &cell.talks {
        let _ = writeln!(text, "  {} sends {} a message every {:?}", talk.from, talk.to, talk.every);
    }
    let Some([one, other]) = cell.nats_of_pair() else {
        text.push_str("\nBoth are in one LAN: no gateway is between them.\n");
        return text + &run(cell);
    };
    text.push_str("\nWhy:\n");
    match Truth::standard().because(one, other, cell.node.birthday) {
        Ok(because) => because.iter().for_each(|why| {
            let _ = writeln!(text, "  - {why}");
        }),
        Err(unknown) => {
            let _ = writeln!(text, "  {unknown}");
        }
    }
    if cell.expected == Expected::Any {
        text.push_str("  After what befalls them, any path will do.\n");
    } else if !cell.faults.is_empty() || !cell.filters.is_empty() {
        text.push_str("  That is what the gateways allow; filters and faults of this cell may leave less.\n");
    }
    text + &run(cell)
}

/// The command that runs it.
fn run(cell: &Scenario) -> String {
    match &cell.file {
        Some(file) => format!("\nTo run it: natrig run {file} --only {}\n", cell.id),
        None => format!("\nTo run it: natrig matrix --only {}\n", cell.id),
    }
}

fn when(moment: Moment) -> &'static str {
    match moment {
        Moment::Serving => "when the public nodes serve:",
        Moment::Started => "when the peers have been started:",
        Moment::Bootstrapped => "when both peers know the relay:",
        Moment::Connected => "when the initiator has its first path:",
        Moment::Settled => "when both have reported their final path:",
        Moment::Carrying => "while the lab's bytes are carried:",
    }
}

/// No such cell, and those whose IDs begin alike.
fn unknown(id: &str, cells: &[Scenario]) -> String {
    let start: String = id.chars().take(4).collect::<String>().to_lowercase();
    let alike: Vec<&str> = cells
        .iter()
        .map(|cell| cell.id.as_str())
        .filter(|other| other.to_lowercase().starts_with(&start))
        .take(5)
        .collect();
    let hint = match alike.is_empty() {
        true => "natrig list has the cells, natrig list --ids the cases of the test plan".to_owned(),
        false => format!("such as {}", alike.join(", ")),
    };
    format!("there is no cell or case `{id}`\nhint: {hint}")
}
