//! `natrig completion` and `natrig man`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{cli::Cli, failure::Failure, output::print};

/// Prints what makes a shell complete commands.
pub fn completion(shell: Shell) -> Result<u8, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "natrig", &mut text);
    print(&String::from_utf8_lossy(&text))?;
    Ok(0)
}

/// Prints the manual page of natrig, or of one of its commands.
pub fn page(of: Option<&str>) -> Result<u8, Failure> {
    let mut natrig = Cli::command();
    natrig.build();
    let command = match of {
        None => natrig,
        Some(name) => {
            let shown: Vec<_> = natrig.get_subcommands().filter(|one| !one.is_hide_set()).collect();
            let found = shown.iter().find(|one| one.get_name() == name);
            found.map(|found| (*found).clone()).ok_or_else(|| {
                let known: Vec<&str> = shown.iter().map(|one| one.get_name()).collect();
                Failure::Usage(format!("there is no command `{name}`\nhint: there are {}", known.join(", ")))
            })?
        }
    };
    let mut text = Vec::new();
    let written = clap_mangen::Man::new(command).render(&mut text);
    written.map_err(|error| Failure::Usage(error.to_string()))?;
    print(&String::from_utf8_lossy(&text))?;
    Ok(0)
}
