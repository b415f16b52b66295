//! Whom nobody is to hear, and what holds for some clients: as much of it as there may be, taken and given back.

use std::sync::Arc;
use std::time::Duration;

use dunlin::auth::operator_bans::{BannedWho, OperatorBan, OperatorBans};
use dunlin::auth::{BanList, Profile, Profiles};
use dunlin::limits;
use dunlin::shard::Command;
use dunlin::time::Timestamp;

use super::World;

/// The shard is the last that has bans of operators and profiles: they are freed in its turn. A list of bans out of a file is kept by whoever has read
/// it until all shards have the next one.
pub(crate) fn as_many_as_may_be() -> Duration {
    let mut bans = OperatorBans::default();
    for number in 0..limits::OPERATOR_BANS_MAX {
        let who = BannedWho::ClientId(format!("{number}{}", "x".repeat(1_000)).into());
        assert!(bans.add(Timestamp(0), who, OperatorBan { until: None, reason: "a reason".into() }));
    }
    let profiles = Profiles::new(vec![Profile::default(); limits::PROFILES_MAX]);
    let line = |number: usize| format!("client device-{number}\n");
    let lines: String = (0..limits::BAN_LIST_MAX).map(line).collect();
    let list = Arc::new(BanList::parse(&lines).expect("a list"));
    assert_eq!(list.len(), limits::BAN_LIST_MAX);
    let mut world = World::new();
    let some = [
        Command::UseBans(Some(Arc::new(bans))),
        Command::UseProfiles(Some(Arc::new(profiles))),
        Command::UseBanList(Some(Arc::clone(&list))),
    ];
    let none = [Command::UseBans(None), Command::UseProfiles(None), Command::UseBanList(None)];
    let longest = some.into_iter().chain(none).map(|command| world.command(command)).max();
    longest.unwrap_or_default()
}
