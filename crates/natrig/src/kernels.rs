//! `natrig nat kernels`.

use std::collections::BTreeMap;

use natrig_nat::Preset;
use natrig_record::{Cell, Results};
use natrig_report::{Progress, Style, columns};
use natrig_scenario::Scenario;

use crate::{
    cli::KernelsArguments,
    failure::Failure,
    interrupt::{self, Interrupt},
    output::print,
    run::{Subject, conduct, told},
};

const HEADS: [&str; 4] = ["gateway", "axis", "kernel", "measured"];

/// Measures gateways on the newest kernel and on others, and prints the axes in which they are not alike.
pub fn compare(arguments: &KernelsArguments) -> Result<u8, Failure> {
    let scenarios = cells(arguments)?;
    let options = &arguments.options;
    let progress = Progress::stderr(told(options));
    let interrupt = Interrupt::watch();
    let results = conduct(&scenarios, Subject::Gateways, options, &progress, &interrupt)?;
    if options.json {
        crate::run::show(&results, true)?;
    } else {
        print(&Comparison::of(&results).table())?;
    }
    if results.interrupted {
        return Ok(interrupt::CODE);
    }
    // A gateway that is not what its profile says is what this looks for.
    let measured = results.cells.iter().all(|cell| !cell.proofs.is_empty());
    Ok(if measured { 0 } else { results.totals.exit_code() })
}

/// Each gateway on each kernel, opposite a site without one.
fn cells(arguments: &KernelsArguments) -> Result<Vec<Scenario>, Failure> {
    let five: Vec<String> = Preset::ALL.iter().map(|preset| preset.name().to_owned()).collect();
    let nats = if arguments.nats.is_empty() { &five } else { &arguments.nats };
    let kernels = std::iter::once(None).chain(arguments.kernels.iter().map(Some));
    let mut scenarios = Vec::new();
    for (number, kernel) in kernels.enumerate() {
        for nat in nats {
            let machines = match kernel {
                Some(kernel) => format!("machines: {{gateway: {{kernel: {kernel:?}}}}}\n"),
                None => String::new(),
            };
            let text = format!(
                "name: {nat}\nid: kernel{number}-{nat}\nnat1: {nat}\nnat2: public\nexpected: any\n{machines}"
            );
            scenarios.extend(Scenario::parse("natrig nat kernels", &text)?);
        }
    }
    Ok(scenarios)
}

/// What was measured, by gateway and axis, on each kernel.
#[derive(Debug, Default)]
struct Comparison {
    kernels: Vec<String>,
    /// By gateway, then axis: the kernels' values, in their order; none where it was not measured.
    axes: BTreeMap<String, BTreeMap<String, Vec<Option<String>>>>,
}

impl Comparison {
    fn of(results: &Results) -> Self {
        let mut comparison = Comparison::default();
        for cell in &results.cells {
            let kernel = kernel(cell, &results.run.guest_kernel);
            let known = comparison.kernels.iter().position(|one| *one == kernel);
            let at = known.unwrap_or_else(|| {
                comparison.kernels.push(kernel);
                comparison.kernels.len() - 1
            });
            // The other site's is a router.
            let Some(proof) = cell.proofs.first() else { continue };
            let axes = comparison.axes.entry(proof.profile.clone()).or_default();
            for (axis, value) in proof.measured.axes() {
                let values = axes.entry(axis).or_default();
                values.resize(values.len().max(at + 1), None);
                values[at] = Some(value);
            }
        }
        comparison
    }

    /// The axes in which kernels differ, a line for each kernel, and how many were measured.
    fn table(&self) -> String {
        let mut rows = Vec::new();
        let (mut measured, mut differ) = (0, 0);
        for (gateway, axes) in &self.axes {
            for (axis, values) in axes {
                measured += 1;
                let value = |at: usize| values.get(at).cloned().flatten();
                if (1..self.kernels.len()).all(|at| value(at) == value(0)) {
                    continue;
                }
                differ += 1;
                for (at, kernel) in self.kernels.iter().enumerate() {
                    let value = value(at).unwrap_or_else(|| "not measured".to_owned());
                    rows.push([gateway.clone(), axis.clone(), kernel.clone(), value]);
                }
            }
        }
        let summary = format!(
            "{measured} axes of {} gateways on {}: {}\n",
            self.axes.len(),
            self.kernels.join(", "),
            if differ == 0 { "no difference".to_owned() } else { format!("{differ} differ") }
        );
        if rows.is_empty() {
            summary
        } else {
            columns(&HEADS, &rows, Style::of(&std::io::stdout())) + "\n" + &summary
        }
    }
}

/// The kernel of a cell's gateways.
fn kernel(cell: &Cell, newest: &str) -> String {
    cell.kernels.get("nat1").cloned().unwrap_or_else(|| newest.to_owned())
}

#[cfg(test)]
mod tests {
    use natrig_record::{Proof, ProofSide, RunInfo};

    use super::*;

    fn measured(kernel: Option<&str>, profile: &str, mapping: &str) -> Cell {
        let measured =
            ProofSide { mapping: mapping.to_owned(), filtering: "APDF".to_owned(), ..ProofSide::default() };
        let proof = Proof { profile: profile.to_owned(), measured, ..Proof::default() };
        let kernels = kernel.map(|kernel| ("nat1".to_owned(), kernel.to_owned()));
        Cell { proofs: vec![proof], kernels: kernels.into_iter().collect(), ..Cell::default() }
    }

    fn results(cells: Vec<Cell>) -> Results {
        let run = RunInfo { guest_kernel: "6.1.0-50".to_owned(), ..RunInfo::default() };
        Results::of(run, cells, false)
    }

    #[test]
    fn axes_that_differ_are_told_for_each_kernel() {
        let cells = vec![
            measured(None, "symmetric", "APDM"),
            measured(None, "full-cone", "EIM"),
            measured(Some("5.10.0-1"), "symmetric", "ADM"),
            measured(Some("5.10.0-1"), "full-cone", "EIM"),
        ];
        let told = Comparison::of(&results(cells)).table();
        assert!(told.contains("4 axes of 2 gateways on 6.1.0-50, 5.10.0-1: 1 differ"), "{told}");
        assert!(told.contains("APDM") && told.contains("ADM") && !told.contains("EIM"), "{told}");
    }

    #[test]
    fn kernels_that_are_alike_are_told_so() {
        let cells =
            vec![measured(None, "symmetric", "APDM"), measured(Some("5.10.0-1"), "symmetric", "APDM")];
        let told = Comparison::of(&results(cells)).table();
        assert_eq!(told, "2 axes of 1 gateways on 6.1.0-50, 5.10.0-1: no difference\n");
    }

    #[test]
    fn each_gateway_is_measured_on_each_kernel() {
        let arguments = |kernels: &[&str], nats: &[&str]| -> Box<KernelsArguments> {
            let line = ["natrig", "nat", "kernels"].iter().chain(kernels).copied();
            let nats = nats.iter().flat_map(|nat| ["--nat", nat]);
            match <crate::cli::Cli as clap::Parser>::parse_from(line.chain(nats)).command {
                crate::cli::Command::Nat { what: crate::cli::NatCommand::Kernels(arguments) } => arguments,
                _ => unreachable!(),
            }
        };
        let found = cells(&arguments(&["linux-image-6.1.0-47-cloud-amd64"], &[])).unwrap();
        assert_eq!(found.len(), 10);
        assert!(!found[0].has_kernels() && found[5].has_kernels());
        let wrong = cells(&arguments(&["6.1"], &[])).unwrap_err().render();
        assert!(wrong.contains("`6.1` is no package of a kernel"), "{wrong}");
        let wrong = cells(&arguments(&["linux-image-6.1.0-47-cloud-amd64"], &["nothing"])).unwrap_err();
        assert!(wrong.render().contains("nothing"));
    }
}
