//! `natrig matrix`.

use natrig_scenario::{Matrix, Nat, Scenario};

use crate::{
    cli::MatrixArguments,
    failure::Failure,
    nat,
    output::tell,
    run::{self, Subject},
};

/// The cells of the five.
const MATRIX: (&str, &str) =
    ("all-combinations.yaml", include_str!("../../../scenarios/all-combinations.yaml"));

/// Runs every pair of the gateways that are asked for.
pub fn matrix(arguments: MatrixArguments) -> Result<u8, Failure> {
    let subject = if arguments.experiment { Subject::Gateways } else { Subject::Nodes };
    run::run(cells(&arguments)?, subject, arguments.options)
}

fn cells(arguments: &MatrixArguments) -> Result<Vec<Scenario>, Failure> {
    run::pick(of(&arguments.nats)?, &arguments.only)
}

/// The 25 cells, or the grid of some gateways.
pub(crate) fn of(nats: &[String]) -> Result<Vec<Scenario>, Failure> {
    match nats {
        [] => Ok(Scenario::parse(MATRIX.0, MATRIX.1)?),
        names => grid(names),
    }
}

/// Each of some gateways against each.
fn grid(names: &[String]) -> Result<Vec<Scenario>, Failure> {
    let mut nats: Vec<Nat> = Vec::new();
    for name in names {
        let nat = nat::gateways(name)?;
        if nats.iter().any(|other| other.name == nat.name) {
            return Err(Failure::Usage(format!("`--nat` names `{nat}` twice")));
        }
        nats.push(nat);
    }
    let Matrix { cells, unknown } = Matrix::of(&nats);
    for unknown in &unknown {
        tell(&format!("left out: {unknown}"));
    }
    if cells.is_empty() {
        return Err(Failure::Usage(
            "there is no pair of which the truth is known\nhint: a scenario file can say what is expected"
                .to_owned(),
        ));
    }
    Ok(cells)
}
