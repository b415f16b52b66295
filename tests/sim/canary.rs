//! Rules broken on purpose, in the simulator's own mesh, pipes, sockets and store: a run that does not notice proves nothing.
//!
//! One for each promise that the simulator checks. None touches the shards or their connections: it is what they say, or hear, that is
//! changed on the way, as a bug in them would change it.

use dunlin::codec::{Packet, Side, Version, decode, frame};
use dunlin::conn::Handover;
use dunlin::ids::{Qos, Ticket};
use dunlin::shard::MeshMessage;
use dunlin::shard::command::ClientSummary;
use dunlin::telemetry::CloseReason;

use crate::oracle::{Tag, is_will};
use crate::plan::Plan;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Canary {
    #[default]
    None,
    /// Every 1,000th message between shards is lost.
    LoseMeshMessage,
    /// Every 10th message that is published to another shard overtakes the one before it.
    SwapPublishes,
    /// Every 200th QoS 1 or 2 PUBLISH carries the identifier of the one before it.
    ReusePacketId,
    /// Every 100th QoS 0 PUBLISH is delivered a second time.
    RepeatQos0,
    /// Every 100th QoS 2 PUBLISH is delivered a second time, as another exchange.
    RepeatQos2,
    /// Every 100th PUBLISH reaches another client as well.
    Misdeliver,
    /// Every 10th write to the retained store reaches the other shards as a live message only.
    ForgetRetained,
    /// Every 10th announcement of a filter is answered and not applied.
    EarlySuback,
    /// Every 20th CONNACK tells the contrary of what is true about the session.
    DenySession,
    /// Every 10th will is not sent.
    LoseWill,
    /// Every 10th DISCONNECT is taken for a lost connection.
    ForgetGoodbye,
    /// A connection that is taken over stays, every 10th time.
    KeepBoth,
    /// Every 10th lost connection is not told to its shard.
    HideLoss,
    /// Shards do not hear of sockets that take no more.
    HideBlocked,
    /// Acknowledgements do not wait for the store.
    StoreLies,
    /// The client's receive maximum is not kept to.
    IgnoreReceiveMaximum,
    /// Every 3rd time that a shard is no longer interested in a filter, the others keep what they know of it.
    KeepInterest,
    /// What comes behind CONNECT in one piece with it is lost.
    LoseBehindConnect,
    /// Every 20th socket that is handed over comes with the ticket of the one before it.
    StaleHandover,
    /// The shard that was to have a connection does not hear that its socket could not be sent.
    LoseHandoverFailure,
    /// Nobody hears that FIN was sent.
    ForgetFinished,
    /// The budget of a turn begins anew with every receive.
    OneHasTheTurn,
    /// Nobody hears that a receive has stopped as it was to.
    NeverResume,
    /// Connections do not hear that somebody else decides about their CONNECT.
    HearTooEarly,
    /// Connections do not hear that what their client has sent is under way.
    HearHeld,
    /// Connections do not hear that a client which waited was let in, or that its packet is done.
    ForgetResume,
    /// Every 5th page of clients lacks its last one.
    SkipInPage,
    /// The log loses that a client has a QoS 2 message.
    ForgetReleased,
    /// The log loses how much was taken over of what others sent.
    SkipInboxCount,
    /// Acknowledgements do not wait for the disk.
    AckBeforeDisk,
    /// The disk is given that a client has completed a QoS 2 message which it has released.
    ForgetReleasedOnDisk,
    /// The disk is not given how much was taken over of what others sent.
    SkipInboxOnDisk,
    /// A start sends again what other logs have taken over.
    ReplayTwice,
    /// A start takes damage for the end of a log.
    TruncateOnRot,
    /// Connections do not hear that time has passed: who says nothing stays.
    NeverTimeOut,
    /// Every 5th client that goes leaves its place taken.
    KeepPlace,
    /// Connections do not hear that a peer sends no more which still reads.
    ForgetHalfClosed,
    /// Shards do not hear of access rules.
    ForgetRules,
    /// Shards do not hear whom an operator has banned.
    ForgetBans,
    /// Shards do not hear of rates.
    ForgetRates,
    /// Clients are asked to go a hundred times as fast as they are to be.
    HurryDrain,
    /// Every 5th list of a client's filters lacks its last one.
    SkipFilter,
    /// Segments are written whose names are not durable.
    ForgetNames,
}

impl Canary {
    /// All that break something.
    pub(crate) const ALL: [Self; 43] = [
        Self::LoseMeshMessage,
        Self::SwapPublishes,
        Self::ReusePacketId,
        Self::RepeatQos0,
        Self::RepeatQos2,
        Self::Misdeliver,
        Self::ForgetRetained,
        Self::EarlySuback,
        Self::DenySession,
        Self::LoseWill,
        Self::ForgetGoodbye,
        Self::KeepBoth,
        Self::HideLoss,
        Self::HideBlocked,
        Self::StoreLies,
        Self::IgnoreReceiveMaximum,
        Self::KeepInterest,
        Self::LoseBehindConnect,
        Self::StaleHandover,
        Self::LoseHandoverFailure,
        Self::ForgetFinished,
        Self::OneHasTheTurn,
        Self::NeverResume,
        Self::HearTooEarly,
        Self::HearHeld,
        Self::ForgetResume,
        Self::SkipInPage,
        Self::ForgetReleased,
        Self::SkipInboxCount,
        Self::AckBeforeDisk,
        Self::ForgetReleasedOnDisk,
        Self::SkipInboxOnDisk,
        Self::ReplayTwice,
        Self::TruncateOnRot,
        Self::NeverTimeOut,
        Self::KeepPlace,
        Self::ForgetHalfClosed,
        Self::ForgetRules,
        Self::ForgetBans,
        Self::ForgetRates,
        Self::HurryDrain,
        Self::SkipFilter,
        Self::ForgetNames,
    ];

    /// Whether a world has what it breaks: in the others it would be looked for in vain.
    pub(crate) const fn shows_in(self, plan: &Plan) -> bool {
        match self {
            Self::ForgetRules | Self::SkipFilter => plan.orders,
            Self::ForgetBans => plan.orders && plan.hostiles > 0,
            Self::ForgetRates => plan.rates && plan.hostiles > 0,
            Self::HurryDrain => plan.orders && plan.operated,
            Self::HearTooEarly => plan.asks,
            Self::NeverTimeOut => plan.silents,
            Self::KeepPlace => plan.connections_max < 1_000,
            Self::LoseHandoverFailure => plan.settings.shards > 1 && plan.handover_fails_percent > 0,
            Self::LoseMeshMessage
            | Self::SwapPublishes
            | Self::ForgetRetained
            | Self::EarlySuback
            | Self::KeepInterest
            | Self::StaleHandover
            | Self::SkipInboxCount => plan.settings.shards > 1,
            _ => plan.disks || !self.is_found_by_a_crash(),
        }
    }

    /// Whether it is for what comes back after a crash to show it, and for nothing before: the model of the log does not look.
    pub(crate) const fn is_found_by_a_crash(self) -> bool {
        matches!(
            self,
            Self::AckBeforeDisk
                | Self::ForgetReleasedOnDisk
                | Self::SkipInboxOnDisk
                | Self::ReplayTwice
                | Self::TruncateOnRot
                | Self::ForgetNames
        )
    }
}

/// What becomes of a message between two shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Sent,
    Lost,
    /// It overtakes the one before it.
    Overtakes,
}

#[derive(Debug, Default)]
pub(crate) struct Cage {
    pub(crate) canary: Canary,
    count: u64,
    last_id: Option<[u8; 2]>,
    last_ticket: Option<Ticket>,
}

impl Cage {
    pub(crate) const fn new(canary: Canary) -> Self {
        Self { canary, count: 0, last_id: None, last_ticket: None }
    }

    /// What the mesh does with a message.
    pub(crate) fn mesh(&mut self, message: &mut MeshMessage) -> Fate {
        match (self.canary, message) {
            (Canary::LoseMeshMessage, _) if self.turn(1_000) => Fate::Lost,
            (Canary::SwapPublishes, MeshMessage::Publish { .. }) if self.turn(10) => Fate::Overtakes,
            (Canary::ForgetRetained, MeshMessage::Publish { details: Some(details), .. })
                if details.retained.is_some() && self.turn(10) =>
            {
                details.retained = None;
                Fate::Sent
            }
            _ => Fate::Sent,
        }
    }

    /// An announcement that its receiver answers and does not apply: its number.
    pub(crate) fn ignores(&mut self, message: &MeshMessage) -> Option<u64> {
        match (self.canary, message) {
            (Canary::EarlySuback, MeshMessage::Interest { number, .. }) => self.turn(10).then_some(*number),
            (Canary::KeepInterest, MeshMessage::Interest { number, interest, .. }) if interest.is_nothing() => {
                self.turn(3).then_some(*number)
            }
            _ => None,
        }
    }

    /// What a shard hears of the receive maximum in a CONNECT.
    pub(crate) fn receive_maximum(&self, asked: u16) -> u16 {
        if self.canary == Canary::IgnoreReceiveMaximum { u16::MAX } else { asked }
    }

    /// Whether another client gets this packet too.
    pub(crate) fn misdelivers(&mut self, packet: &[u8]) -> bool {
        self.canary == Canary::Misdeliver && packet[0] >> 4 == 3 && self.turn(100)
    }

    /// Whether a DISCONNECT looks like a lost connection.
    pub(crate) fn forgets_goodbye(&mut self, packet: &Packet<'_>) -> bool {
        self.canary == Canary::ForgetGoodbye && matches!(packet, Packet::Disconnect(_)) && self.turn(10)
    }

    /// Whether a connection that the shard lets go is kept.
    pub(crate) fn keeps(&mut self, reason: CloseReason) -> bool {
        self.canary == Canary::KeepBoth && reason == CloseReason::SessionTakenOver && self.turn(10)
    }

    /// The ticket that a socket on its way to another shard comes with.
    pub(crate) fn stale(&mut self, ticket: Ticket) -> Ticket {
        let last = self.last_ticket.replace(ticket);
        last.filter(|_| self.canary == Canary::StaleHandover && self.turn(20)).unwrap_or(ticket)
    }

    /// Whether a message about a handover is lost.
    pub(crate) fn loses_failure(&self, handover: &Handover) -> bool {
        self.canary == Canary::LoseHandoverFailure && matches!(handover, Handover::Failed { .. })
    }

    /// What of the first bytes of a connection is received.
    pub(crate) fn cut_behind_connect(&self, bytes: &mut Vec<u8>) {
        if self.canary == Canary::LoseBehindConnect
            && bytes[0] == 0x10
            && let Ok(Some((_, total))) = frame::next(bytes, u32::MAX)
        {
            bytes.truncate(total);
        }
    }

    /// Whether a shard does not hear of a lost connection.
    pub(crate) fn hides_loss(&mut self) -> bool {
        self.canary == Canary::HideLoss && self.turn(10)
    }

    /// What becomes of a packet on its way to a client's socket.
    pub(crate) fn pass(&mut self, version: Version, mut packet: Vec<u8>) -> Vec<Vec<u8>> {
        let (first, canary) = (packet[0] >> 4, self.canary);
        match canary {
            Canary::ReusePacketId | Canary::RepeatQos2 => self.pass_with_id(version, packet),
            Canary::RepeatQos0 if packet[0] & 0xf6 == 0x30 && self.turn(100) => vec![packet.clone(), packet],
            Canary::DenySession if first == 2 && self.turn(20) => {
                packet[2] ^= 1;
                vec![packet]
            }
            Canary::LoseWill if is_will_packet(version, &packet) && self.turn(10) => Vec::new(),
            _ => vec![packet],
        }
    }

    fn pass_with_id(&mut self, version: Version, packet: Vec<u8>) -> Vec<Vec<u8>> {
        let Some((qos, at)) = packet_id_at(version, &packet) else { return vec![packet] };
        let id = [packet[at], packet[at + 1]];
        let mut packets = vec![packet];
        if self.canary == Canary::ReusePacketId {
            if let Some(last_id) = self.last_id.replace(id)
                && self.turn(200)
            {
                packets[0][at..at + 2].copy_from_slice(&last_id);
            }
        } else if qos == Qos::ExactlyOnce && self.turn(100) {
            let mut copy = packets[0].clone();
            copy[at] |= 0x40; // an identifier that is not in use yet
            packets.push(copy);
        }
        packets
    }

    /// What of a page an operator does not see.
    pub(crate) fn skips(&mut self, page: &mut Vec<ClientSummary>) {
        if self.canary == Canary::SkipInPage && !page.is_empty() && self.turn(5) {
            page.pop();
        }
    }

    /// What of a client's filters an operator does not see.
    pub(crate) fn skips_filter(&mut self, page: &mut Vec<Box<str>>) {
        if self.canary == Canary::SkipFilter && !page.is_empty() && self.turn(5) {
            page.pop();
        }
    }

    /// Whether a client that goes leaves its place taken.
    pub(crate) fn keeps_place(&mut self) -> bool {
        self.canary == Canary::KeepPlace && self.turn(5)
    }

    const fn turn(&mut self, every: u64) -> bool {
        self.count += 1;
        self.count.is_multiple_of(every)
    }
}

/// A PUBLISH in these bytes, and where its packet identifier stands if it has one.
fn publish_of(version: Version, packet: &[u8]) -> Option<(dunlin::codec::Publish<'_>, usize)> {
    let (frame, len) = frame::next(packet, u32::MAX).ok()??;
    let Packet::Publish(publish) = decode(frame, version, Side::Client).ok()? else { return None };
    Some((publish, len - frame.body.len() + 2 + publish.topic.len()))
}

/// QoS of a new message with an identifier, and where that stands.
fn packet_id_at(version: Version, packet: &[u8]) -> Option<(Qos, usize)> {
    let (publish, at) = publish_of(version, packet)?;
    publish.packet_id.filter(|_| !publish.dup)?;
    Some((publish.qos, at))
}

fn is_will_packet(version: Version, packet: &[u8]) -> bool {
    let Some((publish, _)) = publish_of(version, packet) else { return false };
    matches!(Tag::of(publish.payload), Tag::Known(key) if is_will(key))
}
