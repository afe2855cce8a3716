//! Work that blocks, for those who wait without blocking.

use natrig_lab::Halt;
use natrig_machines::Trouble;

use crate::Error;

/// Does work on a thread for it. When nobody waits for it any more, its halt is raised.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&Halt) -> T + Send + 'static,
) -> Result<T, Error> {
    let halt = Halt::default();
    let mut waiter = Waiter(Some(halt.clone()));
    let done = tokio::task::spawn_blocking(move || work(&halt)).await;
    // What lives on may keep the halt.
    waiter.0 = None;
    match done.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(done) => Ok(done),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => Err(Trouble::lab("the runtime has ended").into()),
    }
}

/// Whoever waits, until there is nothing to wait for.
struct Waiter(Option<Halt>);

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(halt) = &self.0 {
            halt.raise();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[tokio::test]
    async fn work_ends_with_whoever_waits_for_it() {
        let (ended, end) = mpsc::channel();
        let (begun, beginning) = mpsc::channel();
        let work = blocking(move |halt| {
            let _ = begun.send(());
            while !halt.raised() {
                std::thread::yield_now();
            }
            let _ = ended.send(());
        });
        assert!(tokio::time::timeout(Duration::from_millis(10), work).await.is_err());
        beginning.recv_timeout(Duration::from_secs(60)).unwrap();
        end.recv_timeout(Duration::from_secs(60)).unwrap();
    }

    #[tokio::test]
    async fn what_lives_on_is_not_halted() {
        let halt = blocking(Halt::clone).await.unwrap();
        assert!(!halt.raised());
    }

    #[tokio::test]
    #[should_panic(expected = "as it was told to")]
    async fn a_panic_is_that_of_whoever_waits() {
        let _ = blocking(|_| panic!("as it was told to")).await;
    }
}
