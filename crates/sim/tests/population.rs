//! Populations: the same on any number of threads, and what is wrong is told.

use std::{num::NonZeroU32, path::Path, time::Duration};

use natrig_scenario::population::{Churn, Mix};
use natrig_sim::PortId;
use natrig_sim::population::{
    Ended, Gossip, Outcome, Partners, Population, RelaySettings, Settings, Traffic, Wrong, many,
    report::{Document, html, text},
};

fn file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/populations").join(name)
}

fn mix(name: &str) -> Mix {
    Mix::load(&file(name)).unwrap_or_else(|problem| panic!("{}", problem.render(false)))
}

fn settings(nodes: u32, seconds: u64) -> Settings {
    Settings {
        nodes,
        mix: mix("internet-2025.yaml"),
        churn: Churn::default(),
        length: Duration::from_secs(seconds),
        seed: 11,
        threads: 1,
        traffic: Traffic::default(),
        relays: RelaySettings { members: NonZeroU32::new(16).unwrap(), sessions: 100 },
        gossip: Gossip::default(),
        lookups: 0,
    }
}

fn outcome(settings: &Settings) -> Outcome {
    let mut population = Population::new(settings).unwrap();
    population.run(|_| ()).unwrap_or_else(|failed| panic!("{failed}"));
    population.outcome()
}

#[test]
fn everybody_who_can_send_finds_the_partner_and_no_message_is_lost() {
    let calm = Settings { mix: mix("nat-check-2005.yaml"), ..settings(60, 60) };
    let outcome = outcome(&calm);
    assert_eq!(outcome.reachability.share, 1.0);
    assert_eq!((outcome.messages.lost, outcome.messages.failed), (0, 0));
    assert!(outcome.messages.delivered > 60 * 40, "{}", outcome.messages.delivered);
    assert_eq!(outcome.nats.values().sum::<u64>(), 60);
    // Nodes find out what was drawn for them.
    assert_eq!(outcome.detected, outcome.nats);
    // Two random symmetric NATs get nowhere without a relay, all others of this mix meet.
    let pair = |from: &str, to: &str| {
        outcome.pairs.iter().find(|pair| pair.from == from && pair.to == to).map(|pair| pair.paths)
    };
    let hard = pair("symmetric", "symmetric").unwrap();
    assert_eq!(hard.relay, hard.total());
    let easy = pair("port-restrict", "port-restrict").unwrap();
    assert_eq!(easy.punch + easy.direct + easy.reversal, easy.total());
}

#[test]
fn of_two_that_are_matched_one_speaks_and_the_other_answers() {
    let traffic = Traffic { partners: Partners::Matched, ..Traffic::default() };
    let matched = outcome(&Settings { mix: mix("nat-check-2005.yaml"), traffic, ..settings(61, 60) });
    assert_eq!(matched.reachability.share, 1.0);
    assert_eq!((matched.messages.lost, matched.messages.failed), (0, 0));
    // Each of 30 pairs says and hears something each second; the odd one speaks and is not answered.
    assert!(matched.messages.delivered > 60 * 40, "{}", matched.messages.delivered);
    let drawn = outcome(&Settings { mix: mix("nat-check-2005.yaml"), ..settings(61, 60) });
    // An answer takes the acknowledgement along.
    let quic = |outcome: &Outcome| outcome.sent_per_node_and_second["quic"].datagrams;
    assert!(quic(&matched) < quic(&drawn) * 0.9, "{} {}", quic(&matched), quic(&drawn));
}

#[test]
fn behind_chains_firewalls_and_nothing_at_all_members_meet() {
    let text = std::fs::read_to_string(file("nat-check-2005.yaml")).unwrap();
    let text = text.replace("82%, nat: port-restrict", "50%, nat: cgn").replace(
        "18%, nat: symmetric",
        "30%, nat: public}\n  - {share: 20%, nat: {name: firewall, like: public, filtering: APDF}",
    );
    let mix = Mix::parse("mixed.yaml", &text).unwrap_or_else(|problem| panic!("{}", problem.render(false)));
    let outcome = outcome(&Settings { mix, ..settings(40, 60) });
    assert_eq!(outcome.nats.len(), 3, "{:?}", outcome.nats);
    assert_eq!((outcome.reachability.share, outcome.messages.lost), (1.0, 0), "{:#?}", outcome.pairs);
}

#[test]
fn the_outcome_is_the_same_on_any_number_of_threads() {
    let churn = Churn::load(&file("restless.churn.yaml")).unwrap();
    let alone = Settings { churn, ..settings(50, 45) };
    let [one, two, three] = [1, 2, 3].map(|threads| outcome(&Settings { threads, ..alone.clone() }));
    assert!(one.sessions > 50, "{}", one.sessions);
    let json = |outcome: &Outcome| serde_json::to_string(outcome).unwrap();
    assert_eq!(json(&one), json(&two));
    assert_eq!(json(&one), json(&three));
    let other = outcome(&Settings { seed: 12, ..alone });
    assert_ne!(one.digest, other.digest);
}

#[test]
fn worlds_side_by_side_are_those_that_would_run_alone() {
    let one = settings(20, 20);
    let seeds = |at_once| many(&one, 3, at_once, |_| ()).unwrap();
    let [together, alone] = [seeds(3), seeds(1)];
    assert_eq!(together, alone);
    let drawn: Vec<u64> = together.iter().filter_map(Ended::outcome).map(|outcome| outcome.seed).collect();
    assert_eq!(drawn, [11, 12, 13]);
}

#[test]
fn members_that_come_and_go_find_each_other_again() {
    let churn = Churn::load(&file("restless.churn.yaml")).unwrap();
    let outcome = outcome(&Settings { churn, ..settings(60, 180) });
    assert!(outcome.sessions > 120, "{}", outcome.sessions);
    assert!(outcome.present < 60);
    // Who leaves takes with it what is on the way.
    assert!(outcome.messages.delivered > outcome.messages.sent / 2);
    assert!(outcome.reachability.connected > 30, "{:?}", outcome.reachability);
}

/// Found with seed 4: message 97 of member 26 came twice, once to each of two lives of member 95.
#[test]
fn who_begins_anew_may_hear_again_what_it_had_heard() {
    let churn = Churn::load(&file("restless.churn.yaml")).unwrap();
    let gossip = Gossip { view: 64, ..Gossip::default() };
    let relays = RelaySettings::default();
    let restless = Settings { churn, gossip, relays, seed: 4, ..settings(100, 140) };
    let outcome = outcome(&restless);
    assert!(outcome.messages.again > 0 && outcome.messages.again < 10, "{}", outcome.messages.again);
}

#[test]
fn a_relay_that_is_cut_off_breaks_an_invariant_which_names_seed_member_and_time() {
    let mut population = Population::new(&settings(20, 90)).unwrap();
    let relay = population.relays()[0];
    let cable = population.world().port_of(relay, 0).unwrap();
    population.world().cut(cable, true);
    let failed = population.run(|_| ()).unwrap_err();
    assert_eq!(failed.seed, 11);
    assert!(failed.breaches.iter().all(|breach| matches!(breach.what, Wrong::NoRelay { .. })));
    assert!(failed.breaches[0].at < Duration::from_secs(50), "{failed}");
    let said = failed.to_string();
    assert!(said.contains("with seed 11") && said.contains("without a relay"), "{said}");
}

fn looking(view: usize, peer_contact: bool) -> Settings {
    Settings { gossip: Gossip { view, peer_contact }, lookups: 4, ..settings(60, 150) }
}

#[test]
fn with_small_views_everybody_is_found_by_lookup() {
    let lookups = outcome(&looking(8, true)).lookups.expect("they looked");
    assert_eq!((lookups.found, lookups.open), (lookups.ended, 0), "{lookups:?}");
    assert!(lookups.of_settled > 200 && lookups.share_known < 0.5, "{lookups:?}");
}

#[test]
fn somebody_who_is_not_found_breaks_an_invariant_which_names_the_seed() {
    // Relays that tell nobody of anybody know their own members only.
    let failed = Population::new(&looking(8, false)).unwrap().run(|_| ()).unwrap_err();
    assert_eq!(failed.seed, 11);
    assert!(failed.breaches.iter().all(|breach| matches!(breach.what, Wrong::NotFound { .. })), "{failed}");
    assert!(failed.to_string().contains("and did not find it"), "{failed}");
}

#[test]
fn who_has_no_udp_has_no_relay_and_that_is_no_breach() {
    let text = std::fs::read_to_string(file("nat-check-2005.yaml")).unwrap();
    let blocked = text.replace("nat: symmetric", "nat: udp-blocked");
    let mix = Mix::parse("blocked.yaml", &blocked).unwrap();
    let outcome = outcome(&Settings { mix, ..settings(20, 60) });
    let reach = outcome.reachability;
    assert!(reach.with_udp < reach.pairs && reach.connected == reach.with_udp, "{reach:?}");
    assert_eq!(reach.share_with_udp, 1.0);
}

#[test]
fn a_run_is_told_as_text_as_json_and_as_one_page() {
    let settings = settings(20, 20);
    let worlds = many(&settings, 1, 1, |_| ()).unwrap();
    let document = Document::new(&settings, worlds, Duration::from_secs(1), Some(1 << 30));
    let json = serde_json::to_value(&document).unwrap();
    assert_eq!(json["schema"], "natrig/population/1");
    assert_eq!(json["worlds"][0]["nodes"], 20);
    assert!(json["settings"]["mix_sources"].as_array().unwrap().len() > 1);
    let text = text(&document);
    assert!(text.contains("reached") && text.contains("1024 MiB at most"), "{text}");
    let page = html(&document);
    assert_eq!(page.matches("<svg").count(), 5);
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    assert!(page.contains("prefers-color-scheme: dark"));
    // Nothing is fetched.
    for word in ["<script", "src=", "href=", "url(", "@import"] {
        assert!(!page.contains(word), "{word}");
    }
}

/// Box 6 of the mesh: news of somebody who comes go to all relays, and where they cannot go that is told.
#[test]
fn all_relays_soon_know_of_who_comes() {
    let calm = Settings { mix: mix("nat-check-2005.yaml"), ..settings(100, 60) };
    let whole = outcome(&calm).convergence.expect("relays keep all of 100");
    assert_eq!((whole.took_ms.count(), whole.left, whole.open), (100, 0, 0));
    let slowest = whole.took_ms.quantile(1.0).unwrap();
    assert!(slowest <= Duration::from_secs(10), "{slowest:?}");

    // A relay that other relays cannot reach hears of all by its members.
    let ports = |population: &mut Population| -> Vec<PortId> {
        let relays = population.relays().to_vec();
        relays.iter().map(|relay| population.world().port_of(*relay, 0).unwrap()).collect()
    };
    let mut parted = Population::new(&calm).unwrap();
    let all = ports(&mut parted);
    let (last, others) = all.split_last().unwrap();
    for other in others {
        parted.world().block(*last, *other);
        parted.world().block(*other, *last);
    }
    parted.run(|_| ()).unwrap();
    assert_eq!(parted.outcome().convergence.unwrap().open, 0);

    // One that nobody can reach hears of nobody.
    let mut silent = Population::new(&calm).unwrap();
    silent.world().cut(*last, true);
    silent.run(|_| ()).unwrap_err();
    let silent = silent.outcome().convergence.unwrap();
    assert_eq!((silent.took_ms.count(), silent.open), (0, 100));

    let bounded = Settings { gossip: Gossip { peer_contact: false, ..Gossip::default() }, ..calm };
    assert_eq!(outcome(&bounded).convergence, None);
}
