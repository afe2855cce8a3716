//! A lab as a picture for a terminal: public machines above, sites below, and what is broken where it is.

use std::collections::HashMap;

use natrig_machines::State;
use natrig_record::{Map, Role};

/// A picture that is wider is none.
const WIDEST: usize = 110;

/// What is between two columns.
const GAP: usize = 3;

/// Draws it; none if it would be too wide.
pub fn draw(map: &Map, state: &State) -> Option<String> {
    let view = View::of(map, state);
    let sites: Vec<Site> = view.sites();
    let mut left = 0;
    let mut middles = Vec::new();
    for site in &sites {
        let width = site.width();
        middles.push(left + width / 2);
        left += width + GAP;
    }
    let public: Vec<&str> = view.of_role(Role::Public).collect();
    let cell = view.widest(&public) + GAP;
    let width = left.max(public.len() * cell).max(30);
    if width > WIDEST {
        return None;
    }
    let mut canvas = Canvas::default();
    let spread = |at: usize| width / 2 + at * cell + cell / 2 - public.len() * cell / 2;
    for (at, name) in public.iter().enumerate() {
        let link = format!("{name}.wan");
        let below = canvas.machine(0, spread(at), &view, name);
        if view.detail(name).is_empty() {
            canvas.link(below - 1, spread(at), &view, &link);
        }
        canvas.link(below, spread(at), &view, &link);
    }
    let internet = if public.is_empty() { 0 } else { 3 };
    canvas.bar(internet, 0, width, '═', "internet");
    let deepest = sites.iter().map(|site| site.gateways.len()).max().unwrap_or(0);
    for (site, middle) in sites.iter().zip(&middles) {
        let mut at = internet + 1;
        // A site with fewer gateways than others hangs lower, so that all LANs are in one line.
        for _ in site.gateways.len()..deepest {
            (at..at + 4).for_each(|row| canvas.put(row, *middle, "│"));
            at += 4;
        }
        for (depth, gateway) in site.gateways.iter().enumerate() {
            canvas.link(at, *middle, &view, &format!("{gateway}.wan"));
            at = canvas.machine(at + 1, *middle, &view, gateway);
            if depth + 1 < site.gateways.len() {
                let segment = view.segment(&format!("{gateway}.lan")).unwrap_or_default();
                canvas.put(at, *middle, segment);
            } else {
                canvas.link(at, *middle, &view, &format!("{gateway}.lan"));
            }
            at += 1;
        }
        let from = middle - site.width() / 2;
        canvas.bar(at, from, site.width(), '─', site.lan);
        for (place, peer) in site.peers.iter().enumerate() {
            let seat = from + place * site.seat() + site.seat() / 2;
            canvas.link(at + 1, seat, &view, &format!("{peer}.lan"));
            canvas.machine(at + 2, seat, &view, peer);
        }
    }
    Some(canvas.text())
}

/// What is to be drawn.
struct View<'a> {
    map: &'a Map,
    machines: HashMap<&'a str, &'static str>,
    links: HashMap<&'a str, &'static str>,
    moved: HashMap<&'a str, &'a str>,
    profiles: HashMap<&'a str, &'a str>,
}

impl<'a> View<'a> {
    fn of(map: &'a Map, state: &'a State) -> Self {
        let mut machines = HashMap::new();
        for (names, word) in [
            (&state.paused, "node paused"),
            (&state.ended, "no node"),
            (&state.frozen, "frozen"),
            (&state.off, "off"),
        ] {
            machines.extend(names.iter().map(|name| (*name, word)));
        }
        let first = |text: &'a String| text.split(',').next().unwrap_or_default();
        let impaired = state.impaired.iter().map(|one| (first(one), "≈"));
        View {
            map,
            machines,
            links: impaired.chain(state.cut.iter().map(|link| (*link, "✂"))).collect(),
            moved: state.moved.iter().map(|(machine, to)| (*machine, first(to))).collect(),
            profiles: state.gateways.iter().map(|(machine, now)| (*machine, first(now))).collect(),
        }
    }

    fn of_role(&self, role: Role) -> impl Iterator<Item = &'a str> {
        self.map.machines.iter().filter(move |one| one.role == role).map(|one| one.name.as_str())
    }

    fn segment(&self, link: &str) -> Option<&'a str> {
        self.map.links.iter().find(|one| one.name == link).map(|one| one.segment.as_str())
    }

    /// What stands under a machine's name.
    fn detail(&self, machine: &str) -> &'a str {
        let column = self.map.machines.iter().find(|one| one.name == machine);
        let first = column.filter(|one| one.role == Role::Gateway).map_or("", |one| one.detail.as_str());
        self.machines.get(machine).or(self.profiles.get(machine)).copied().unwrap_or(first)
    }

    /// How wide the widest of some machines is.
    fn widest(&self, machines: &[&str]) -> usize {
        let width = |name: &&str| name.len().max(self.detail(name).chars().count());
        machines.iter().map(width).max().unwrap_or(0)
    }

    fn sites(&self) -> Vec<Site<'a>> {
        let mut lans: Vec<&str> = self.map.links.iter().map(|link| link.segment.as_str()).collect();
        lans.retain(|segment| segment.starts_with("lan"));
        lans.sort_unstable();
        lans.dedup();
        let site = |lan: &'a str| {
            let home = |peer: &str| self.moved.get(peer).copied().or(self.segment(&format!("{peer}.lan")));
            let peers: Vec<&str> = self.of_role(Role::Peer).filter(|peer| home(peer) == Some(lan)).collect();
            let mut gateways: Vec<&str> = Vec::new();
            let mut inside = lan;
            while let Some(gateway) =
                self.of_role(Role::Gateway).find(|one| self.segment(&format!("{one}.lan")) == Some(inside))
            {
                gateways.insert(0, gateway);
                inside = self.segment(&format!("{gateway}.wan")).unwrap_or_default();
            }
            let (seat, least) = (self.widest(&peers) + 2, self.widest(&gateways).max(lan.len() + 6));
            Site { lan, peers, gateways, seat, least }
        };
        lans.into_iter().map(site).collect()
    }
}

/// A LAN, its peers, and its gateways from the outermost on.
struct Site<'a> {
    lan: &'a str,
    peers: Vec<&'a str>,
    gateways: Vec<&'a str>,
    seat: usize,
    least: usize,
}

impl Site<'_> {
    fn seat(&self) -> usize {
        match self.peers.len() {
            0 => self.seat,
            peers => self.seat.max(self.least.div_ceil(peers)),
        }
    }

    fn width(&self) -> usize {
        (self.peers.len() * self.seat()).max(self.least)
    }
}

/// Lines of characters.
#[derive(Default)]
struct Canvas(Vec<Vec<char>>);

impl Canvas {
    /// Writes a text around a column.
    fn put(&mut self, row: usize, middle: usize, text: &str) {
        let length = text.chars().count();
        self.write(row, middle.saturating_sub(length / 2), text);
    }

    fn write(&mut self, row: usize, from: usize, text: &str) {
        let length = text.chars().count();
        if self.0.len() <= row {
            self.0.resize(row + 1, Vec::new());
        }
        if let Some(line) = self.0.get_mut(row) {
            if line.len() < from + length {
                line.resize(from + length, ' ');
            }
            for (place, character) in line.iter_mut().skip(from).zip(text.chars()) {
                *place = character;
            }
        }
    }

    /// A machine with what stands under its name; gives the row below.
    fn machine(&mut self, row: usize, middle: usize, view: &View<'_>, name: &str) -> usize {
        self.put(row, middle, name);
        self.put(row + 1, middle, view.detail(name));
        row + 2
    }

    fn link(&mut self, row: usize, middle: usize, view: &View<'_>, link: &str) {
        self.put(row, middle, view.links.get(link).copied().unwrap_or("│"));
    }

    fn bar(&mut self, row: usize, from: usize, width: usize, line: char, name: &str) {
        self.write(row, from, &line.to_string().repeat(width));
        self.write(row, from + 2, &format!(" {name} "));
    }

    fn text(self) -> String {
        let lines = self.0.into_iter().map(|line| line.into_iter().collect::<String>());
        lines.map(|line| line.trim_end().to_owned() + "\n").collect()
    }
}

#[cfg(test)]
mod tests {
    use natrig_scenario::Scenario;

    use super::*;
    use crate::plan;

    fn picture(text: &str, state: &State) -> Option<String> {
        draw(&plan::map(&Scenario::parse("x.yaml", text).unwrap().remove(0)), state)
    }

    #[test]
    fn a_lab_is_drawn_with_what_is_broken() {
        let lab = "{name: x, nat1: port-restrict, nat2: symmetric, expected: relay}";
        insta::assert_snapshot!("whole", picture(lab, &State::default()).unwrap());
        let state = State {
            cut: vec!["nat2.wan"],
            impaired: vec!["nat1.wan, direction: out, loss: 10%".to_owned()],
            ended: vec!["peer1"],
            off: vec!["relay"],
            gateways: [("nat2", "full-cone, 192.168.100.2".to_owned())].into(),
            ..State::default()
        };
        insta::assert_snapshot!("broken", picture(lab, &state).unwrap());
    }

    #[test]
    fn carriers_and_many_sites_have_room() {
        let chained = "{name: x, nat1: {chain: [port-restrict, symmetric]}, nat2: public, peers: {lan1: 2}, relays: 2, expected: any}";
        let state = State { moved: [("peer2", "lan1, 10.0.1.9".to_owned())].into(), ..State::default() };
        insta::assert_snapshot!("chained", picture(chained, &state).unwrap());
        let sites: String = (1..=8).map(|site| format!("nat{site}: port-restrict, ")).collect();
        assert_eq!(picture(&format!("{{name: x, {sites}expected: any}}"), &State::default()), None);
    }
}
