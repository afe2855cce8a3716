//! What kept the nodes' datagrams from arriving, in a few sentences.

use natrig_record::{Basis, End, Moment, MomentKind};

use super::write::{Read, Writer, basis_word};

/// So many sentences on datagrams, and on what was done to the lab.
const MOST: usize = 3;

/// Datagrams of one kind and sender that ended in one place for one reason.
struct Group<'a> {
    what: &'static str,
    sender: &'a str,
    at: &'a str,
    /// Without the ports, which differ.
    reason: &'a str,
    basis: Basis,
    count: u32,
}

/// The most frequent ends of datagrams between the connect command and the lab's bytes, and what was done before.
pub(super) fn causes<'a>(writer: &'a Writer<'_>, read: &'a [Read<'_>], moments: &[Moment]) -> Vec<String> {
    let to_ns = writer.case.window.map_or(u64::MAX, |window| window.from_ns);
    let span = writer.case.connect_ns..to_ns;
    let mut groups: Vec<Group<'_>> = Vec::new();
    for Read { one, what, end } in read.iter().filter(|read| span.contains(&read.one.first().left_ns)) {
        let End::Dropped { at, why, basis } = end else { continue };
        let reason = why.split(':').next().unwrap_or_default();
        let (sender, basis) = (writer.cast.name(one.first().from), *basis);
        let known = groups.iter_mut().find(|group| {
            (group.what, group.sender, group.at, group.reason, group.basis)
                == (*what, sender, at, reason, basis)
        });
        match known {
            Some(group) => group.count += 1,
            None => groups.push(Group { what, sender, at, reason, basis, count: 1 }),
        }
    }
    // Those that come first are told first where there are as many of others.
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    let told = groups.into_iter().take(MOST).map(|group| {
        let Group { what, sender, at, reason, basis, count } = group;
        let basis = basis_word(basis);
        format!("{count} x {what} of {sender}, not passed by {at}: {reason} [{basis}]")
    });
    let done: Vec<&Moment> = moments.iter().filter(|moment| moment.kind == MomentKind::Fault).collect();
    let done = done.iter().rev().take(MOST).rev().map(|moment| {
        let side = if moment.at_ms < 0.0 { "before" } else { "after" };
        format!("done {:.1} s {side} the connect command: {}", moment.at_ms.abs() / 1000.0, moment.what)
    });
    told.chain(done).collect()
}
