//! Ctrl-C, and its relatives SIGTERM and SIGHUP.

use std::{
    io::{self, Write},
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use natrig_lab::Halt;

/// The exit code of a program that was interrupted.
pub const CODE: u8 = 130;

/// What signals do to this program.
///
/// Until [`orderly`](Self::orderly) there is nothing that would be lost: a signal ends the program at once. After it, the
/// first signal raises the halt and the second ends the program. Machines die with the program in any case.
pub struct Interrupt {
    halt: Halt,
    orderly: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes over the signals.
    pub fn watch() -> Self {
        let interrupt = Interrupt { halt: Halt::default(), orderly: Arc::default() };
        let (halt, orderly) = (interrupt.halt.clone(), Arc::clone(&interrupt.orderly));
        let set = ctrlc::set_handler(move || {
            if halt.raised() || !orderly.load(Ordering::SeqCst) {
                process::exit(CODE.into());
            }
            halt.raise();
            // Whether anybody reads this or not, the next signal must be heard.
            let _ = writeln!(io::stderr(), "interrupted: ending the cells; once more to end at once");
        });
        if let Err(error) = set {
            tracing::warn!("Ctrl-C will end this at once, without results: {error}");
        }
        interrupt
    }

    /// From now on there are results to be written and machines to be ended.
    pub fn orderly(&self) -> &Halt {
        self.orderly.store(true, Ordering::SeqCst);
        &self.halt
    }
}
