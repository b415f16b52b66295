//! Fleets that come back, and who is watched beside them.
//!
//! A fleet comes as fast as loadtest lets it, which has 1,000 connections under way at a time; over TLS each with a whole handshake.
//! Who is watched has stages of a tenth of a second, whose distributions are put together afterwards over exactly the time that a
//! storm took.

use super::{Pace, Publish, REST, Scenario, Stage, publishers, subscribers};
use std::fmt::Write as _;

/// A fleet comes for the first time.
pub(crate) const COME_FIRST: &str = "come first";
/// It comes once more, as often as there are stages of this name.
pub(crate) const COME_AGAIN: &str = "come again";

/// It goes, or its connections are reset.
pub(crate) const LEAVE: &str = "leave";
/// From then until it comes again: to see to all those ends is work, too, and not to be taken for that of coming.
pub(crate) const AFTER_LEAVING_S: f64 = 3.0;

/// The names of user `%i`, and of its password.
const USERNAME: &str = "user-%i";
const PASSWORD: &str = "secret-of-%u";
/// A fleet is at most so many times as large as the number of its users: clients of one user are in different groups.
const FLEETS: [&str; 10] =
    ["fleet0", "fleet1", "fleet2", "fleet3", "fleet4", "fleet5", "fleet6", "fleet7", "fleet8", "fleet9"];
/// Coming without a handshake or a hash takes a fraction of a second: several of them fill one.
const AGAIN: usize = 5;
/// From a fleet's coming to what is next.
const PAUSE_S: f64 = 0.5;
/// One that was told that the broker is busy tries again each second, for longer than any cell takes.
const RETRIES: u32 = 1_000;
/// Length of a stage of those who are watched.
const SLICE_S: f64 = 0.1;

impl Scenario {
    /// `clients` with a subscription each are there and silent, then their connections are reset, then they come back.
    pub(crate) fn storm(clients: u32, quiet_s: f64) -> Self {
        let groups = vec![subscribers("fleet", clients, 1, &["fleet/devices/%i"])];
        let of = |stage: Stage| Stage { groups: vec!["fleet"], ..stage };
        let stages = vec![
            of(Stage::new(COME_FIRST, "ramp")),
            // What the others' messages waited for is over by then.
            pause(8.0 * PAUSE_S),
            Stage { seconds: Some(quiet_s), measure: Some(true), ..Stage::new(REST, "hold") },
            of(Stage { how: Some("reset"), ..Stage::new(LEAVE, "drop") }),
            pause(AFTER_LEAVING_S),
            of(Stage::new(COME_AGAIN, "resume")),
            pause(2.0 * PAUSE_S),
        ];
        Self::new(groups, stages)
    }

    /// `clients` without a subscription, of whom each `users` have a name each, come, and go and come several times.
    pub(crate) fn comings(clients: u32, users: u32, quiet_s: f64) -> Self {
        let fleets = &FLEETS[..(clients.div_ceil(users) as usize).min(FLEETS.len())];
        let groups = fleets.iter().map(|name| subscribers(name, users, 1, &[])).collect();
        let of = |stage: Stage| Stage { groups: fleets.to_vec(), ..stage };
        let mut stages = vec![
            pause(4.0 * PAUSE_S),
            Stage { seconds: Some(quiet_s), measure: Some(true), ..Stage::new(REST, "hold") },
            of(Stage::new(COME_FIRST, "ramp")),
        ];
        for _ in 0..AGAIN {
            stages.extend([pause(PAUSE_S), of(Stage::new(LEAVE, "drop")), pause(AFTER_LEAVING_S)]);
            stages.push(of(Stage::new(COME_AGAIN, "resume")));
        }
        stages.push(pause(PAUSE_S));
        Self::new(groups, stages)
    }

    /// The same with names and passwords, those of `password_lines`.
    #[must_use]
    pub(crate) fn with_names(mut self) -> Self {
        let broker = &mut self.broker;
        (broker.username, broker.password, broker.retry) = (Some(USERNAME), Some(PASSWORD), Some(RETRIES));
        self
    }

    /// `pairs` that carry a load all the time, in stages so short that any span of time is some of them.
    pub(crate) fn watched(pairs: u32, per_second: f64, seconds: f64) -> Self {
        let groups = vec![
            subscribers("osub", pairs, 0, &["others/%i"]),
            publishers("opub", pairs, 0, Publish::paced("others/%i", Pace::PerSecond(per_second))),
        ];
        let slice =
            Stage { publish: vec!["opub"], seconds: Some(SLICE_S), measure: Some(true), ..Stage::new("slice", "hold") };
        let mut stages = vec![Stage { groups: vec!["osub", "opub"], ..Stage::new("connect", "ramp") }];
        stages.extend(vec![slice; (seconds / SLICE_S) as usize]);
        Self::new(groups, stages)
    }
}

fn pause(seconds: f64) -> Stage {
    Stage { seconds: Some(seconds), ..Stage::new("pause", "hold") }
}

/// What `with_names` shows: a line `NAME:PASSWORD` each.
pub(crate) fn password_lines(users: u32) -> String {
    let mut text = String::new();
    for number in 0..users {
        let name = USERNAME.replace("%i", &number.to_string());
        let _ = writeln!(text, "{name}:{}", PASSWORD.replace("%u", &name));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_user_of_a_fleet_has_a_line_and_as_many_clients_as_another() {
        let scenario = Scenario::comings(40, 10, 1.0).with_names();
        assert_eq!((scenario.group.len(), scenario.group[3].clients), (4, 10));
        assert_eq!(scenario.broker.username, Some("user-%i"));
        let lines = password_lines(10);
        assert_eq!(lines.lines().count(), 10);
        assert!(lines.ends_with("user-9:secret-of-user-9\n"), "{lines}");
    }

    #[test]
    fn a_fleet_is_whole_before_it_is_cut_and_comes_back_whole() {
        let doing = |stages: &[Stage]| stages.iter().map(|stage| stage.doing).collect::<Vec<_>>();
        let storm = Scenario::storm(20_000, 6.0);
        assert_eq!(doing(&storm.stage), ["ramp", "hold", "hold", "drop", "hold", "resume", "hold"]);
        assert_eq!(storm.stage[3].how, Some("reset"));
        assert_eq!(storm.measured_in(REST), 6.0);
        let again = Scenario::comings(40, 10, 1.0).stage.into_iter().filter(|stage| stage.name == COME_AGAIN);
        assert_eq!(again.count(), AGAIN);
    }

    #[test]
    fn who_is_watched_has_a_stage_for_each_tenth_of_a_second() {
        let scenario = Scenario::watched(50, 2_000.0, 3.0);
        assert_eq!(scenario.stage.len(), 31);
        assert!((scenario.measured_in("slice") - 3.0).abs() < 1e-9);
    }
}
