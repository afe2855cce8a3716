//! What peers say of where they see us: a second source beside STUN.
//!
//! Anybody may lie. So observers count once for each address they have, a verdict needs four of them, and one that stands
//! alone turns nothing.

use std::net::SocketAddr;

use crate::detect::Confidence;
use crate::identity::PeerId;
use crate::nat::{Mapping, is_private};

/// Observers kept; the oldest makes room.
const MAX_OBSERVERS: usize = 16;
/// Observers that a verdict needs.
const ENOUGH: usize = 4;
/// How many of them must agree.
const AGREEING: usize = 3;

struct Observation {
    observer: PeerId,
    /// Where the observer is.
    at: SocketAddr,
    seen: SocketAddr,
}

/// What all observers together say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub mapping: Mapping,
    /// Where most of them see us.
    pub endpoint: SocketAddr,
    pub confidence: Confidence,
}

/// Observations of our main socket.
#[derive(Default)]
pub(crate) struct Observations {
    all: Vec<Observation>,
    outside_is_private: bool,
}

impl Observations {
    /// Takes note that `observer`, which is at `at`, has seen us at `seen`. Whether that is news.
    pub fn note(&mut self, observer: PeerId, at: SocketAddr, seen: SocketAddr) -> bool {
        // What is seen inside a site says nothing of its way out.
        if is_private(at.ip()) && is_private(seen.ip()) && !self.outside_is_private {
            return false;
        }
        let all = &mut self.all;
        let known = all.iter().position(|known| known.observer == observer || known.at.ip() == at.ip());
        let is_news = known.is_none_or(|known| all[known].seen != seen);
        match known {
            Some(known) if !is_news && all[known].at == at => return false,
            Some(known) => drop(all.remove(known)),
            None if all.len() >= MAX_OBSERVERS => drop(all.remove(0)),
            None => {}
        }
        all.push(Observation { observer, at, seen });
        is_news
    }

    /// Says whether the network that servers see us in has private addresses, as that of a lab has: what is seen there counts.
    pub fn set_outside_is_private(&mut self, is_private: bool) {
        self.outside_is_private = is_private;
    }

    /// Forgets all: we are somewhere else.
    pub fn clear(&mut self) {
        self.all.clear();
    }

    /// What they say, if anybody has said anything.
    pub fn verdict(&self) -> Option<Verdict> {
        let saying = |endpoint| self.all.iter().filter(|observation| observation.seen == endpoint).count();
        // The newest of those that are said most often.
        let endpoint =
            self.all.iter().map(|observation| observation.seen).max_by_key(|&seen| saying(seen))?;
        let (agreeing, all) = (saying(endpoint), self.all.len());
        let (mapping, confidence) = match () {
            () if all >= ENOUGH && agreeing >= AGREEING && 2 * agreeing > all => {
                (Mapping::EndpointIndependent, Confidence::High)
            }
            // Whether by address or by port is not to be seen: nobody asks us from two ports.
            () if all >= ENOUGH && 2 * agreeing <= all => {
                (Mapping::AddressAndPortDependent, Confidence::High)
            }
            () if all >= ENOUGH => (Mapping::Unknown, Confidence::Low),
            () if all >= 2 && agreeing == all => (Mapping::EndpointIndependent, Confidence::Low),
            () => (Mapping::Unknown, Confidence::Low),
        };
        Some(Verdict { mapping, endpoint, confidence })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOME: &str = "198.51.100.1:4400";

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn observer(n: u8) -> (PeerId, SocketAddr) {
        (PeerId::from_bytes([n; 32]), SocketAddr::from(([203, 0, 113, n], 4400)))
    }

    /// Observers 1, 2, 3 and so on, each with what it says.
    fn heard(said: &[&str]) -> Observations {
        let mut observations = Observations::default();
        for (n, seen) in said.iter().enumerate() {
            let (id, at) = observer(n as u8 + 1);
            observations.note(id, at, address(seen));
        }
        observations
    }

    fn verdict(said: &[&str]) -> (Mapping, Confidence) {
        let verdict = heard(said).verdict().expect("somebody has spoken");
        (verdict.mapping, verdict.confidence)
    }

    #[test]
    fn three_equal_among_four_are_needed_to_be_sure() {
        use Mapping::*;
        assert_eq!(verdict(&[HOME; 4]), (EndpointIndependent, Confidence::High));
        assert_eq!(verdict(&[HOME; 3]), (EndpointIndependent, Confidence::Low));
        assert_eq!(verdict(&[HOME; 1]), (Unknown, Confidence::Low));
        let all_different = ["1.1.1.1:1", "1.1.1.1:2", "1.1.1.1:3", "1.1.1.1:4"];
        assert_eq!(verdict(&all_different), (AddressAndPortDependent, Confidence::High));
        assert_eq!(Observations::default().verdict(), None);
    }

    #[test]
    fn one_host_counts_once_whatever_it_calls_itself() {
        let (mut observations, (_, at)) = (heard(&[HOME]), observer(9));
        for n in 20..30 {
            let port = SocketAddr::new(at.ip(), n.into());
            observations.note(PeerId::from_bytes([n; 32]), port, address("6.6.6.6:6"));
        }
        assert_eq!(observations.all.len(), 2);
    }

    #[test]
    fn what_is_seen_inside_the_site_is_not_counted() {
        let mut observations = heard(&[HOME; 3]);
        let inside = address("192.168.1.7:4400");
        assert!(!observations.note(observer(8).0, inside, address("192.168.1.9:4400")));
        assert_eq!(observations.verdict(), heard(&[HOME; 3]).verdict());
        // Unless servers see us in such a network as well.
        observations.set_outside_is_private(true);
        assert!(observations.note(observer(8).0, inside, address("192.168.1.9:4400")));
    }

    proptest! {
        /// Whatever one of them says, and in whatever order they speak.
        #[test]
        fn a_liar_alone_turns_nothing(lie: u16, place in 0usize..6, honest in 3usize..6, lied_again: bool) {
            let mut said = vec![HOME.to_owned(); honest];
            said.insert(place.min(honest), format!("66.66.66.66:{lie}"));
            let mut observations = heard(&said.iter().map(String::as_str).collect::<Vec<_>>());
            if lied_again {
                let (id, at) = observer(place.min(honest) as u8 + 1);
                observations.note(id, at, address("66.66.66.66:1"));
            }
            let verdict = observations.verdict().expect("a verdict");
            prop_assert_eq!(verdict.endpoint, address(HOME));
            prop_assert_eq!(verdict.mapping, Mapping::EndpointIndependent);
        }

        /// Behind a NAT that gives each its own port, one who repeats another's word makes no agreement.
        #[test]
        fn a_liar_alone_makes_no_agreement(copied in 0usize..3, ports in proptest::collection::hash_set(1u16.., 4)) {
            let mut said: Vec<String> = ports.iter().map(|port| format!("198.51.100.1:{port}")).collect();
            said[3] = said[copied].clone();
            let verdict = verdict(&said.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!(verdict.0, Mapping::AddressAndPortDependent);
        }

        #[test]
        fn the_list_is_bounded(said in proptest::collection::vec(any::<(u8, u32, u16)>(), 0..100)) {
            let mut observations = Observations::default();
            for (id, ip, port) in said {
                let at = SocketAddr::from((ip.to_be_bytes(), port));
                observations.note(PeerId::from_bytes([id; 32]), at, at);
                prop_assert!(observations.all.len() <= MAX_OBSERVERS);
            }
        }
    }
}
