//! Conditions that a gateway makes itself, with `tc ... netem` on the interface that a link belongs to. Each is read back.

use std::collections::BTreeMap;

use natrig_lab::assertions::netem::Tally;
use natrig_netmodel::{Chance, Conditions, Distribution, GilbertElliott, Jitter, netem};
use natrig_scenario::{Flow, Impairment, Link, Machine, Where};
use serde::Deserialize;
use serde_json::Value;

use crate::{Lab, Trouble, gateway::expect, lab::lock};

/// How far a number may be from what was set: the kernel keeps shares in 32 bits and `tc` prints six digits.
const NEAR: f64 = 1e-6;

/// What gateways do to the frames that they send.
#[derive(Debug, Default)]
pub(crate) struct Netem {
    in_force: BTreeMap<Link, Conditions>,
    /// What became of the frames under conditions that are in force no more.
    tallies: Vec<Tally>,
}

impl Lab {
    /// Has gateways do to what they send what is theirs of the conditions that a scenario tells. Not before they have been
    /// proven: what they lose themselves cannot be told from what they filter.
    pub fn impair_in_gateways(&self, impairments: &[Impairment]) -> Result<(), Trouble> {
        for impairment in impairments.iter().filter(|it| it.at == Where::Gateway) {
            let link = impairment.link;
            if impairment.flow != Flow::Out {
                return Err(Trouble::lab(format!("{link}: netem is for what leaves a gateway")));
            }
            self.mend_in_gateway(link)?;
            self.set(link, &impairment.conditions)?;
            lock(&self.netem).in_force.insert(link, impairment.conditions);
        }
        Ok(())
    }

    /// Has a gateway send on one link as it would by itself.
    pub(crate) fn mend_in_gateway(&self, link: Link) -> Result<(), Trouble> {
        if !lock(&self.netem).in_force.contains_key(&link) {
            return Ok(());
        }
        let tally = self.tally(link)?;
        expect(self.agent(link.machine())?, &["tc", "qdisc", "del", "dev", interface(link)?, "root"])?;
        let mut netem = lock(&self.netem);
        netem.in_force.remove(&link);
        netem.tallies.push(tally);
        Ok(())
    }

    /// Has a gateway that is another machine now do what the one before it did.
    pub(crate) fn impair_anew(&self, machine: Machine) -> Result<(), Trouble> {
        let in_force = lock(&self.netem).in_force.clone();
        let own = in_force.iter().filter(|(link, _)| link.machine() == machine);
        own.into_iter().try_for_each(|(link, conditions)| self.set(*link, conditions))
    }

    /// What became of the frames that gateways sent, by what was in force.
    pub(crate) fn tallies(&self) -> Result<Vec<Tally>, Trouble> {
        let in_force: Vec<Link> = lock(&self.netem).in_force.keys().copied().collect();
        let last = in_force.into_iter().map(|link| self.tally(link)).collect::<Result<Vec<_>, _>>()?;
        let mut tallies = lock(&self.netem).tallies.clone();
        tallies.extend(last);
        Ok(tallies)
    }

    /// Forgets what machines of another cell did.
    pub(crate) fn forget_netem(&self) {
        *lock(&self.netem) = Netem::default();
    }

    fn set(&self, link: Link, conditions: &Conditions) -> Result<(), Trouble> {
        let words = netem::arguments(conditions).map_err(Trouble::lab)?;
        let mut argv = vec!["tc", "qdisc", "replace", "dev", interface(link)?, "root", "netem"];
        argv.extend(words.iter().map(String::as_str));
        expect(self.agent(link.machine())?, &argv).map_err(|trouble| trouble.at(link))?;
        self.read(link, conditions).map(drop)
    }

    fn tally(&self, link: Link) -> Result<Tally, Trouble> {
        let conditions = lock(&self.netem).in_force.get(&link).copied();
        let conditions = conditions.ok_or_else(|| Trouble::lab(format!("{link} has no netem")))?;
        let Discipline { packets, drops, qlen, .. } = self.read(link, &conditions)?;
        Ok(Tally { link: link.name().to_owned(), conditions, passed: packets + qlen, lost: drops })
    }

    /// What `tc` says of a link's interface, which must be what was set.
    fn read(&self, link: Link, conditions: &Conditions) -> Result<Discipline, Trouble> {
        let agent = self.agent(link.machine())?;
        let output = expect(agent, &["tc", "-s", "-j", "qdisc", "show", "dev", interface(link)?])?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let disciplines: Vec<Discipline> = serde_json::from_str(&said).map_err(|error| {
            Trouble::lab(format!("what tc says of {link}: {error}")).lines([said.clone()])
        })?;
        let netem = disciplines.into_iter().find(|one| one.kind == "netem" && one.root);
        match netem {
            Some(netem) if alike(&conditions_of(&netem.options), conditions) => Ok(netem),
            _ => Err(Trouble::lab(format!("netem on {link} is not what was set")).lines([said])),
        }
    }
}

/// The interface of a link in its gateway.
fn interface(link: Link) -> Result<&'static str, Trouble> {
    let machine = link.machine();
    match () {
        () if machine.is_gateway() && machine.lan() == Some(link) => Ok("lan"),
        () if machine.is_gateway() && machine.wan() == Some(link) => Ok("wan"),
        () => Err(Trouble::lab(format!("{link} is no gateway's link"))),
    }
}

/// One line of `tc -s -j qdisc show`.
#[derive(Debug, Deserialize)]
struct Discipline {
    kind: String,
    #[serde(default)]
    root: bool,
    #[serde(default)]
    options: Value,
    #[serde(default)]
    packets: u64,
    #[serde(default)]
    drops: u64,
    #[serde(default)]
    qlen: u64,
}

/// The conditions in what `tc` prints as the options of netem.
fn conditions_of(options: &Value) -> Conditions {
    let number = |group: &str, key: &str| options.pointer(&format!("/{group}/{key}")).and_then(Value::as_f64);
    let share = |group: &str, key: &str| {
        number(group, key).and_then(|share| natrig_netmodel::Probability::new(share).ok()).unwrap_or_default()
    };
    let chance = |group: &str, key: &str| Chance {
        chance: share(group, key),
        correlation: share(group, "correlation"),
    };
    let time = |key: &str| {
        let seconds = number("delay", key).unwrap_or_default();
        std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default()
    };
    let bursts = options.get("loss-gemodel").map(|_| GilbertElliott {
        to_bad: share("loss-gemodel", "p"),
        to_good: share("loss-gemodel", "r"),
        loss_bad: share("loss-gemodel", "1-h"),
        loss_good: share("loss-gemodel", "1-k"),
    });
    let spread = time("jitter");
    Conditions {
        delay: time("delay"),
        jitter: Jitter {
            spread,
            distribution: Distribution::Uniform,
            correlation: share("delay", "correlation"),
            overtaking: !spread.is_zero(),
        },
        loss: chance("loss-random", "loss"),
        bursts,
        duplicate: chance("duplicate", "duplicate"),
        reorder: chance("reorder", "reorder"),
        corrupt: chance("corrupt", "corrupt"),
        ..Conditions::default()
    }
}

/// Whether two say the same, as far as `tc` prints it.
fn alike(one: &Conditions, other: &Conditions) -> bool {
    let numbers = |it: &Conditions| {
        let bursts = it.bursts.map(|bursts| {
            [bursts.to_bad, bursts.to_good, bursts.loss_bad, bursts.loss_good].map(|chance| chance.value())
        });
        let mut numbers = vec![it.delay.as_secs_f64(), it.jitter.spread.as_secs_f64()];
        numbers.extend([it.loss, it.duplicate, it.reorder, it.corrupt].map(|chance| chance.chance.value()));
        numbers.extend(bursts.unwrap_or([-1.0; 4]));
        numbers
    };
    numbers(one).iter().zip(numbers(other)).all(|(one, other)| (one - other).abs() <= NEAR)
}
