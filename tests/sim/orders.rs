//! What an operator orders: access rules, profiles, bans, and that clients are asked to go.
//!
//! Always holds: rules keep messages from everybody who may not have them, a banned client does not get in, nobody with a profile has more
//! than it allows, and no more clients are asked to go than the operator said.

use std::collections::BTreeMap;
use std::sync::Arc;

use dunlin::auth::acl::{RuleSet, parse_mosquitto};
use dunlin::auth::operator_bans::{BannedWho, OperatorBan, OperatorBans};
use dunlin::auth::{ClientProfile, Profile, ProfileScope, Profiles};
use dunlin::codec::{Forwarded, Packet};
use dunlin::ids::Qos;
use dunlin::session::{Message, MessageRef};
use dunlin::shard::{Command, DrainPlan, Reply};
use dunlin::telemetry::CloseReason;
use dunlin::time::Timestamp;

use crate::canary::Canary;
use crate::conn::Owner;
use crate::oracle::Check;
use crate::rates;
use crate::rng::Rng;
use crate::world::World;

/// Rules that are always in force: who came while there were none would be nobody later.
const ALLOW_ALL: &str = "pattern readwrite #\npattern read $SYS/#\n";
/// What the rules keep from everybody. Clients of the model ignore what comes by it.
const KEPT_FROM_ALL: &str = "pattern deny wild/#\npattern readwrite #\npattern read $SYS/#\n";
/// What begins a message that tells the step of its publication.
const STAMP: &[u8] = b"ruled ";
/// Filters that a profile lets a hostile client have.
const FILTERS_MAX: u32 = 2;
/// Hostile clients there may be.
const HOSTILES: usize = 4;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Orders {
    pub(crate) rng: Rng,
    /// The step since which rules are in force.
    ruled_since: Option<u64>,
    /// Until when, in milliseconds, a client id is banned.
    banned: BTreeMap<String, u64>,
    /// Shards whose clients are asked to go.
    drains: BTreeMap<usize, Draining>,
}

#[derive(Debug)]
struct Draining {
    clients_per_s: u32,
    began_ms: u64,
    asked: u64,
}

impl Orders {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed ^ 0x0004_de25), ruled_since: None, banned: BTreeMap::new(), drains: BTreeMap::new() }
    }

    /// A process begins without any.
    pub(crate) fn forget(&mut self) {
        self.ruled_since = None;
        self.banned.clear();
        self.drains.clear();
    }
}

/// From the start.
pub(crate) fn rules() -> Arc<RuleSet> {
    rules_of(ALLOW_ALL)
}

fn rules_of(text: &str) -> Arc<RuleSet> {
    Arc::new(parse_mosquitto(text).expect("these are rules"))
}

impl World {
    /// From the start, so that no session of theirs has more from before.
    pub(crate) fn profiles(&self) -> Arc<Profiles> {
        self.profiles_with(None)
    }

    fn profiles_with(&self, keep_alive_max_s: Option<u16>) -> Arc<Profiles> {
        let mut scope = ProfileScope::default();
        scope.clients = (0..HOSTILES).map(|n| format!("hostile-{n}").into()).collect();
        let mut settings =
            ClientProfile { subscriptions_max: Some(FILTERS_MAX), keep_alive_max_s, ..ClientProfile::default() };
        if self.plan.rates && self.cage.canary != Canary::ForgetRates {
            rates::give(&mut settings);
        }
        Arc::new(Profiles::new(vec![Profile { scope, settings }]))
    }

    /// One order, or one list.
    pub(crate) fn operator_orders(&mut self) -> Check {
        if !self.plan.orders || !self.orders.rng.percent(2) {
            return Ok(());
        }
        let shard = self.orders.rng.below(self.shards.len());
        match self.orders.rng.below(10) {
            0 => self.change_rules(),
            1 | 2 => self.publish_what_rules_keep(shard),
            3 => self.change_profiles(),
            4 => self.change_bans(),
            5 => self.ask_about_profile(),
            6 if self.plan.operated => self.begin_or_end_drain(shard),
            _ => self.ask_for_a_list(shard),
        }
    }

    /// Takes all of it back.
    pub(crate) fn withdraw_orders(&mut self) -> Check {
        let draining: Vec<usize> = self.orders.drains.keys().copied().collect();
        for shard in draining {
            self.begin_or_end_drain(shard)?;
        }
        self.orders.forget();
        if self.plan.orders {
            self.order_all(&Command::UseRules(Some(rules())))?;
        }
        self.order_all(&Command::UseBans(None))
    }

    /// Every shard is told, in one moment.
    fn order_all(&mut self, command: &Command) -> Check {
        let is_forgotten = matches!(
            (self.cage.canary, command),
            (Canary::ForgetRules, Command::UseRules(_)) | (Canary::ForgetBans, Command::UseBans(_))
        );
        for shard in 0..self.shards.len() {
            if !is_forgotten {
                self.order(shard, command.clone())?;
            }
        }
        Ok(())
    }

    fn order(&mut self, shard: usize, command: Command) -> Check {
        match self.command(shard, command)? {
            Reply::Done => Ok(()),
            other => Err(format!("an order is answered with {other:?}")),
        }
    }

    fn change_rules(&mut self) -> Check {
        if self.orders.ruled_since.take().is_some() {
            return self.order_all(&Command::UseRules(Some(rules())));
        }
        self.order_all(&Command::UseRules(Some(rules_of(KEPT_FROM_ALL))))?;
        self.oracle.withhold_wild();
        self.orders.ruled_since = Some(self.trace.step);
        Ok(())
    }

    /// A message that tells when it was published, on a topic that nobody may have while rules are in force.
    fn publish_what_rules_keep(&mut self, shard: usize) -> Check {
        let mut payload = STAMP.to_vec();
        payload.extend_from_slice(self.trace.step.to_string().as_bytes());
        let qos = if self.orders.rng.percent(50) { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        let message = Message::new(&MessageRef {
            topic: "wild/ruled",
            qos,
            retain: false,
            expires: None,
            publisher: None,
            properties: Forwarded::EMPTY,
            payload: &payload,
        });
        self.oracle.stats.kept_from += u64::from(self.orders.ruled_since.is_some());
        match self.command(shard, Command::Publish(message))? {
            Reply::Published { .. } => Ok(()),
            other => Err(format!("a message of an operator is answered with {other:?}")),
        }
    }

    /// Nobody is sent what the rules have kept from all since before it was published.
    pub(crate) fn check_rules(&self, index: usize, packet: &Packet<'_>) -> Check {
        let (Packet::Publish(publish), Some(since)) = (packet, self.orders.ruled_since) else { return Ok(()) };
        let stamp = publish.payload.strip_prefix(STAMP).and_then(|stamp| std::str::from_utf8(stamp).ok());
        match stamp.and_then(|stamp| stamp.parse::<u64>().ok()) {
            Some(step) if step > since => {
                Err(format!("connection {index} is sent what rules of step {since} keep from everybody: {publish:?}"))
            }
            _ => Ok(()),
        }
    }

    fn change_profiles(&mut self) -> Check {
        let keep_alive_max_s = *self.orders.rng.pick(&[None, Some(5), Some(600)]);
        self.order_all(&Command::UseProfiles(Some(self.profiles_with(keep_alive_max_s))))
    }

    /// No hostile client has more filters than its profile allows.
    fn ask_about_profile(&mut self) -> Check {
        for number in 0..self.hostiles.len() {
            let client_id: Box<str> = format!("hostile-{number}").into();
            let shard = dunlin::ids::ShardId::owner_of(&client_id, self.shards.len()).index();
            if let Reply::Client(details) = self.command(shard, Command::DescribeClient { client_id })?
                && details.summary.subscriptions > FILTERS_MAX
            {
                return Err(format!("a profile allows {FILTERS_MAX} filters, and a client has {details:?}"));
            }
        }
        Ok(())
    }

    fn change_bans(&mut self) -> Check {
        let now = Timestamp(self.now.unix_ms);
        let mut bans = OperatorBans::default();
        self.orders.banned.clear();
        for number in 0..self.orders.rng.below(HOSTILES + 1) {
            let name = format!("hostile-{number}");
            let until = self.orders.rng.percent(50).then(|| Timestamp(now.0 + 5_000));
            let ban = OperatorBan { until, reason: "it is hostile".into() };
            assert!(bans.add(now, BannedWho::ClientId(name.as_str().into()), ban), "there is room for a few");
            self.orders.banned.insert(name, until.map_or(u64::MAX, |until| until.0));
        }
        self.order_all(&Command::UseBans(Some(Arc::new(bans))))
    }

    /// Whether nobody comes in under this name.
    pub(crate) fn is_banned(&self, client_id: &str) -> bool {
        self.orders.banned.get(client_id).is_some_and(|&until| until > self.now.unix_ms)
    }

    /// A CONNECT of somebody who is banned has been heard.
    pub(crate) fn check_ban(&mut self, index: usize, client_id: &str) -> Check {
        self.oracle.stats.banned += 1;
        if self.conns.get(&index).is_some_and(|conn| !conn.left) {
            return Err(format!("{client_id} is banned, and connection {index} is let in"));
        }
        Ok(())
    }

    fn begin_or_end_drain(&mut self, shard: usize) -> Check {
        if self.orders.drains.remove(&shard).is_some() {
            return self.order(shard, Command::Drain(None));
        }
        let clients_per_s = *self.orders.rng.pick(&[1, 5, 50]);
        self.orders.drains.insert(shard, Draining { clients_per_s, began_ms: self.now.ms(), asked: 0 });
        let hurried = if self.cage.canary == Canary::HurryDrain { clients_per_s * 100 } else { clients_per_s };
        let server = self.orders.rng.percent(50).then(|| "elsewhere:1883".into());
        self.order(shard, Command::Drain(Some(DrainPlan { clients_per_s: hurried, server, is_last: false })))
    }

    /// A shard has closed a connection, perhaps because its clients are asked to go.
    pub(crate) fn note_asked_to_go(&mut self, shard: usize, index: usize, reason: CloseReason) -> Check {
        let owner = self.conns[&index].owner;
        if reason != CloseReason::AdministrativeAction {
            return Ok(());
        }
        if let Owner::Client(client) = owner {
            if self.oracle.sessions.get(&client).is_none_or(|session| session.conn != Some(index)) {
                return Ok(()); // an operator has closed this very one
            }
            // It is judged below whether anybody was to be asked.
            self.oracle.end_connection(client, index);
        }
        let now_ms = self.now.ms();
        let Some(drain) = self.orders.drains.get_mut(&shard) else {
            return Err(format!("connection {index} is asked to go, and nobody wants that"));
        };
        drain.asked += 1;
        self.oracle.stats.asked_to_go += 1;
        // A part is due every 10 ms, and what one has left over of a client the next one may add.
        let parts = (now_ms - drain.began_ms) / 10 + 1;
        let most = parts * u64::from(drain.clients_per_s) / 100 + 1;
        if drain.asked > most {
            return Err(format!("{} clients of shard {shard} were asked to go, {most} are the most", drain.asked));
        }
        Ok(())
    }
}
