//! Made-up results for the tests of this crate.

use natrig_record::*;

const KIB: u64 = 1024;

fn run() -> RunInfo {
    RunInfo {
        natrig: "0.1.0".into(),
        backend: "vm".into(),
        accelerator: "tcg".into(),
        host: "2 cores, 24 GB".into(),
        qemu: "7.2.0".into(),
        guest_kernel: "6.1.0-1-cloud-amd64".into(),
        image: "0123456789ab".into(),
        command: ["natrig", "run", "scenarios/seed/scenario-direct.yaml"].map(String::from).into(),
        seed: 1,
        started: "2026-11-23T10:00:00Z".into(),
        elapsed_ms: 12_345.0,
        folder: "natrig-runs/2026-11-23T10-00-00".into(),
    }
}

fn results(cells: Vec<Cell>) -> Results {
    Results::of(run(), cells, false)
}

fn cell(name: &str, nats: [&str; 2], expected: &str) -> Cell {
    let id = nats.join("-");
    let evidence = Evidence {
        captures: vec!["captures/nat1.wan.pcapng".into()],
        logs: vec!["logs/peer1.log".into()],
        gateways: vec!["nat1.nft".into()],
        folder: id.clone(),
    };
    let proof = |gateway: &str, profile: &str| {
        let side = |hairpin: &str| ProofSide {
            mapping: "EIM".into(),
            filtering: "EIF".into(),
            early_packet_harmless: Some(true),
            other: [("true_sources", "true"), ("hairpin", hairpin)]
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(axis, value)| (axis.to_owned(), value.to_owned()))
                .collect(),
        };
        Proof {
            gateway: gateway.into(),
            profile: profile.into(),
            steps: "fast".into(),
            declared: side("none"),
            measured: side(""),
            differs: vec![],
            holds: true,
            notes: vec!["three destinations saw the same port".into()],
        }
    };
    let shown = |about, what: &str, detail: &str| Assertion {
        about,
        what: what.into(),
        holds: true,
        detail: detail.into(),
    };
    Cell {
        id,
        name: name.into(),
        file: Some("scenarios/some.yaml".into()),
        nats: nats.map(String::from).into(),
        initiator: 1,
        expected: expected.into(),
        proofs: vec![proof("nat1", nats[0]), proof("nat2", nats[1])],
        assertions: vec![
            shown(
                About::Gateway,
                "nat1 gives a socket one outside endpoint for all destinations",
                "1 socket, 6 destinations, 1 outside endpoint",
            ),
            shown(
                About::Node,
                "a coordinator was asked",
                "by a peer's datagram to or from a third machine, after the connect command",
            ),
        ],
        figures: [("machines", 900.0), ("proof", 700.0), ("total", 1600.0), ("own_memory_mib", 300.0)]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
        evidence,
        ..Cell::default()
    }
}

fn verdict(path: Path, kind: Option<Kind>) -> Verdict {
    let direction = |extra: u64| {
        let (direct_bytes, third) = match path {
            Path::Direct => (256 * KIB + extra, 900),
            Path::Relay => (600, 270 * KIB + extra),
            Path::Mixed => (100 * KIB, 160 * KIB),
            Path::None => (0, 0),
        };
        Direction {
            sent: 256 * KIB,
            arrived: if path == Path::None { 0 } else { 256 * KIB },
            direct_bytes,
            to_third_bytes: third,
            from_third_bytes: third,
        }
    };
    Verdict {
        path,
        kind,
        directions: [direction(9 * KIB), direction(8 * KIB)],
        coordinator_asked: true,
        ports_tried: 1,
        ports_probed: [1, 1],
        attempts_arrived: [3, 3],
        attempts_passed: [1, 1],
        because: vec!["nat2.wan frame 41: the first of peer1's that passed".into()],
    }
}

fn claim(machine: &str, path: Path, kind: &str) -> Claim {
    Claim { machine: machine.into(), path, kind: Some(kind.into()) }
}

/// Each of the four outcomes, and a wrong path as well as no path.
pub(crate) fn four_outcomes() -> Results {
    let good = Cell {
        outcome: Outcome::AsExpected,
        priority: Some("P1".into()),
        verdict: Some(verdict(Path::Direct, Some(Kind::Punch))),
        claims: vec![claim("peer1", Path::Direct, "punch"), claim("peer2", Path::Direct, "punch")],
        connect_ms: Some(312.4),
        settle_ms: Some(690.0),
        ..cell("Hole punch", ["port-restrict", "addr-restrict"], "hole-punch")
    };
    let nothing = Cell {
        outcome: Outcome::NotAsExpected,
        failure: Some(Failure {
            step: Step::Connect,
            message: "neither peer reported a path within 30 s".into(),
            lines: vec![
                "peer1 2.31 s punchResult success=false probes=20".into(),
                "peer1 30.02 s connectFailed reason=\"no relay session\"".into(),
            ],
            hint: None,
        }),
        ..cell("Relay cut", ["symmetric", "symmetric"], "relay")
    };
    let wrong = Cell {
        outcome: Outcome::NotAsExpected,
        initiator: 2,
        verdict: Some(verdict(Path::Relay, Some(Kind::Relay))),
        claims: vec![claim("peer2", Path::Relay, "relay")],
        connect_ms: Some(10_300.0),
        ..cell("Public", ["public", "symmetric"], "direct")
    };
    let lying = Cell {
        outcome: Outcome::Disagree,
        verdict: Some(verdict(Path::Relay, Some(Kind::Relay))),
        claims: vec![claim("peer1", Path::Direct, "direct"), claim("peer2", Path::Relay, "relay")],
        connect_ms: Some(450.0),
        ..cell("A liar", ["symmetric", "port-restrict"], "relay")
    };
    let mut broken = Cell {
        outcome: Outcome::LabError,
        failure: Some(Failure {
            step: Step::Proof,
            message: "nat1 is not what it is declared to be".into(),
            lines: vec![],
            hint: Some("compare the ruleset in the evidence with `nft list ruleset`".into()),
        }),
        ..cell("Unproven", ["full-cone", "full-cone"], "direct")
    };
    broken.proofs[0].holds = false;
    broken.proofs[0].differs = vec!["filtering".into(), "early_packet".into()];
    broken.proofs[0].measured.filtering = "APDF".into();
    broken.proofs[0].measured.early_packet_harmless = Some(false);
    results(vec![good, nothing, wrong, lying, broken])
}

/// Three by three, with a hole and one wrong cell.
pub(crate) fn matrix() -> Results {
    let nats = ["full-cone", "port-restrict", "symmetric"];
    let mut cells = Vec::new();
    for nat1 in nats {
        for nat2 in nats {
            let (path, kind) = match (nat1, nat2) {
                ("symmetric", "symmetric") => continue,
                (_, "full-cone") => (Path::Direct, Kind::Direct),
                ("full-cone", _) => (Path::Direct, Kind::Reversal),
                _ => (Path::Direct, Kind::Punch),
            };
            cells.push(Cell {
                outcome: Outcome::AsExpected,
                verdict: Some(verdict(path, Some(kind))),
                connect_ms: Some(250.0),
                ..cell("All", [nat1, nat2], kind.to_string().as_str())
            });
        }
    }
    let wrong = &mut cells[5];
    wrong.outcome = Outcome::NotAsExpected;
    wrong.expected = "birthday".into();
    wrong.verdict = Some(verdict(Path::Relay, Some(Kind::Relay)));
    results(cells)
}

/// Two pairs without a node: one as the truth says, one not.
pub(crate) fn experiment() -> Results {
    let trial = |senders: &str, connected| Trial { senders: senders.into(), connected };
    let tried = |kind, together, search| {
        Some(Experiment {
            kind,
            order_matters: false,
            trials: vec![
                trial("initiator alone", false),
                trial("responder alone", false),
                trial("both, initiator first", together),
                trial("both, responder first", together),
                trial("both at once", together),
            ],
            search,
        })
    };
    let good = Cell {
        outcome: Outcome::AsExpected,
        experiment: tried(Kind::Punch, true, None),
        ..cell("All", ["addr-restrict", "symmetric"], "punch")
    };
    let bad = Cell {
        outcome: Outcome::NotAsExpected,
        experiment: tried(Kind::Relay, false, Some(Search { probes: 4096, connected: false })),
        ..cell("All", ["port-restrict", "symmetric"], "birthday")
    };
    results(vec![
        good,
        bad,
        Cell { outcome: Outcome::LabError, ..cell("All", ["poison", "symmetric"], "relay") },
    ])
}

/// Two by two, each cell ten times, and one of them flaky.
pub(crate) fn repeated() -> Results {
    let nats = ["full-cone", "port-restrict"];
    let mut cells = Vec::new();
    for repetition in 1..=10 {
        for nat1 in nats {
            for nat2 in nats {
                let failed = repetition > 5 && (nat1, nat2) == (nats[1], nats[1]);
                let kind = if failed { Kind::Relay } else { Kind::Direct };
                let path = if failed { Path::Relay } else { Path::Direct };
                let outcome = if failed { Outcome::NotAsExpected } else { Outcome::AsExpected };
                let mut cell = Cell {
                    outcome,
                    repetition: Some(repetition),
                    verdict: Some(verdict(path, Some(kind))),
                    connect_ms: Some(250.0),
                    ..cell("All", [nat1, nat2], "direct")
                };
                cell.evidence.folder = format!("{}/{repetition}", cell.id);
                cells.push(cell);
            }
        }
    }
    results(cells)
}
