//! One client of MQTT-SN: what is kept for it, and what a datagram or a packet comes to.
//!
//! Always holds: what an idle client takes are its id and its topics; all else is in one block that goes when nothing is under way.

use super::flags::{ReturnCode, SnFlags};
use super::message::SnMessage;
use super::topics::SnTopics;
use super::under_way::{UnderWayFor, WillDraft};
use crate::codec::{Connect, ConnectWill, Forwarded, Version};
use crate::settings::ListenerSettings;
use crate::time::{Deadline, Now};

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnState {
    /// It said in its first CONNECT that it has a will, and was asked about it.
    AwaitingWill,
    /// The shard has its CONNECT and has not answered.
    AwaitingConnAck,
    /// Connected.
    Active,
    /// It sleeps: nothing is sent to it.
    Asleep,
    /// It sleeps, and has asked for what waits for it.
    Awake,
    /// The shard has said goodbye, or the client has.
    Ended,
}

/// Whose time has come to an end, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnEnd {
    /// The client has gone before its CONNECT was complete, or another one came from its address.
    Gone,
    /// It has acknowledged nothing, however often it was sent.
    Lost,
}

/// What a client wants changed of its connection while that lasts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnRenewal {
    /// Its keep alive, or how long it sleeps.
    pub keep_alive_s: Option<u16>,
    /// It is how long it sleeps.
    pub sleeps: bool,
    /// `None` leaves its will as it is.
    pub will: Option<SnWillChange>,
}

/// What becomes of a will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnWillChange {
    /// There is none any more.
    Delete,
    /// It goes there; its message stays.
    Topic(SnFlags, Box<str>),
    /// It says that; its topic stays.
    Payload(Box<[u8]>),
    /// Both.
    Whole(SnFlags, Box<str>, Box<[u8]>),
}

/// What holds while something is handled.
#[derive(Clone, Copy, Debug)]
pub struct SnTurn<'a> {
    /// The time of the turn.
    pub now: Now,
    /// Those of the client's listener.
    pub settings: &'a ListenerSettings,
}

/// What something that was handled leads to.
#[derive(Debug, Default)]
pub struct SnOut {
    /// Packets for the shard, in order.
    pub mqtt: Vec<u8>,
    /// Datagrams for the client, one behind the other.
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    /// The client has shown that it is there, and the shard hears of it by nothing else.
    pub is_alive: bool,
    /// What it wants changed.
    pub renewal: Option<SnRenewal>,
    /// Its connection ends now.
    pub end: Option<SnEnd>,
    /// Messages that could not be sent to it.
    pub dropped: u32,
}

impl SnOut {
    /// Sends a message to the client.
    pub(super) fn send(&mut self, message: &SnMessage<'_>) {
        message.encode(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Sends a datagram once more.
    pub(super) fn send_again(&mut self, datagram: &[u8]) {
        self.bytes.extend_from_slice(datagram);
        self.ends.push(self.bytes.len());
    }

    /// The latest datagram.
    pub(super) fn last(&self) -> &[u8] {
        let before = self.ends.len().checked_sub(2).map_or(0, |at| self.ends[at]);
        &self.bytes[before..]
    }

    /// The datagrams, in order.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }

    /// Empties it for the next use.
    pub fn clear(&mut self) {
        self.mqtt.clear();
        self.bytes.clear();
        self.ends.clear();
        (self.is_alive, self.renewal, self.end, self.dropped) = (false, None, None, 0);
    }

    pub(super) fn renewal_mut(&mut self) -> &mut SnRenewal {
        self.renewal.get_or_insert_default()
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct SnClient {
    pub(super) client_id: Box<str>,
    pub(super) state: SnState,
    /// As CONNECT said.
    pub(super) clean_session: bool,
    /// It has sent CONNECT once more while it was connected, and was asked about its will. All else goes on meanwhile.
    pub(super) is_resuming: bool,
    /// Until when its CONNECT may come again, because its client has not heard the answer; nothing else has come since.
    pub(super) new_until: Option<Deadline>,
    /// It has only published, without connecting.
    pub(super) is_publisher: bool,
    /// As CONNECT said.
    pub(super) duration_s: u16,
    pub(super) next_msg_id: u16,
    pub(super) topics: SnTopics,
    pub(super) under_way: Option<Box<UnderWayFor>>,
}

impl SnClient {
    /// For a CONNECT. What the client is asked, or its packet, is in `out`.
    pub fn connect(turn: SnTurn<'_>, connect: SnConnect<'_>, out: &mut SnOut) -> Self {
        let mut client = Self::new(connect);
        client.begin(turn, connect.flags, out);
        client
    }

    /// For a PUBLISH of somebody who is not connected, under an id that was made up.
    pub fn publisher(turn: SnTurn<'_>, client_id: &str, out: &mut SnOut) -> Self {
        let flags = SnFlags { clean_session: true, ..SnFlags::NONE };
        let mut client = Self::new(SnConnect { flags, duration_s: 0, client_id });
        client.is_publisher = true;
        client.begin(turn, flags, out);
        client
    }

    fn new(connect: SnConnect<'_>) -> Self {
        Self {
            client_id: connect.client_id.into(),
            state: SnState::AwaitingConnAck,
            clean_session: connect.flags.clean_session,
            is_resuming: false,
            new_until: None,
            is_publisher: false,
            duration_s: connect.duration_s,
            next_msg_id: 0,
            topics: SnTopics::default(),
            under_way: None,
        }
    }

    pub(super) fn begin(&mut self, turn: SnTurn<'_>, flags: SnFlags, out: &mut SnOut) {
        if flags.will {
            self.under_way_mut().will = WillDraft::default();
            if !self.is_resuming {
                self.state = SnState::AwaitingWill;
            }
            self.ask_about_will(out);
        } else {
            self.finish_connect(turn, None, out);
        }
    }

    /// Whether its will's topic is known, and its message is not.
    pub(super) fn asked_will_msg(&self) -> bool {
        self.under_way.as_deref().is_some_and(|under_way| under_way.will.flags.is_some())
    }

    /// Asks for what is missing of its will.
    pub(super) fn ask_about_will(&self, out: &mut SnOut) {
        out.send(if self.asked_will_msg() { &SnMessage::WillMsgReq } else { &SnMessage::WillTopicReq });
    }

    /// CONNECT is complete: the shard hears it, or what changes.
    pub(super) fn finish_connect(&mut self, turn: SnTurn<'_>, will: Option<(SnFlags, &str, &[u8])>, out: &mut SnOut) {
        // A client without a keep alive would have its place for ever: no connection breaks when it is gone.
        let keep_alive_s = match self.duration_s {
            0 if !self.is_publisher => turn.settings.sn_keep_alive_s,
            duration_s => duration_s,
        };
        if self.is_resuming {
            self.topics.forget_told();
            let renewal = out.renewal_mut();
            renewal.keep_alive_s = Some(keep_alive_s);
            renewal.will = will.map(|(flags, topic, payload)| SnWillChange::Whole(flags, topic.into(), payload.into()));
            self.is_resuming = false;
            self.state = SnState::Active;
            out.send(&SnMessage::ConnAck { code: ReturnCode::Accepted });
            self.send_all_again(turn, out);
            return;
        }
        self.state = SnState::AwaitingConnAck;
        let datagram_max_bytes = u32::from(turn.settings.sn_datagram_max_bytes);
        Connect {
            keep_alive_s,
            session_expiry_s: if self.clean_session { 0 } else { u32::MAX },
            receive_maximum: 1,
            // So a PUBLISH that fits it fits a datagram, and so does the REGISTER of its topic.
            maximum_packet_size_bytes: datagram_max_bytes - DATAGRAM_BEYOND_PACKET_BYTES,
            request_problem_information: false,
            will: will.map(|(flags, topic, payload)| ConnectWill {
                topic,
                payload,
                qos: flags.qos.unwrap_or_default(),
                retain: flags.retain,
                delay_s: 0,
                message_expiry_s: None,
                properties: Forwarded::default(),
            }),
            ..Connect::new(Version::V5, &self.client_id, self.clean_session)
        }
        .encode(&mut out.mqtt);
    }

    /// How far it has come.
    pub const fn state(&self) -> SnState {
        self.state
    }

    /// Whether it has only published, without connecting.
    pub const fn is_publisher(&self) -> bool {
        self.is_publisher
    }

    /// As CONNECT said it, or made up for one that only publishes.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Bytes of packets that wait until they can be sent to it.
    pub fn waiting_bytes(&self) -> u32 {
        self.under_way.as_deref().map_or(0, |under_way| under_way.waiting_bytes)
    }

    /// Whether anything that it was sent is not acknowledged.
    pub fn has_unacknowledged(&self) -> bool {
        self.under_way.as_deref().is_some_and(|under_way| !under_way.unacknowledged.is_empty())
    }

    /// When something is to be sent to it again.
    pub fn next_retry(&self) -> Option<Deadline> {
        if !matches!(self.state, SnState::Active | SnState::Awake) {
            return None;
        }
        self.under_way.as_deref()?.unacknowledged.iter().map(|sent| sent.due).min()
    }

    /// What it asked for has been sent and acknowledged, and it sleeps on.
    pub fn fall_asleep_again(&mut self, out: &mut SnOut) {
        self.state = SnState::Asleep;
        out.send(&SnMessage::PingResp);
    }

    /// It is said goodbye to, unless it is nobody who would hear it.
    pub(super) fn say_goodbye(&self, out: &mut SnOut) {
        if self.state != SnState::Ended && !self.is_publisher {
            out.send(&SnMessage::Disconnect { duration_s: None });
        }
    }

    /// Nothing is sent to it any more. Returns whether that was so before.
    pub fn silence(&mut self) -> bool {
        self.under_way = None;
        std::mem::replace(&mut self.state, SnState::Ended) == SnState::Ended
    }

    pub(super) fn under_way_mut(&mut self) -> &mut UnderWayFor {
        self.under_way.get_or_insert_default()
    }

    /// Gives the block back when nothing is in it.
    pub(super) fn trim(&mut self) {
        self.under_way.take_if(|under_way| {
            under_way.waiting.is_empty()
                && under_way.unacknowledged.is_empty()
                && under_way.asked.is_empty()
                && under_way.will.topic.is_empty()
                && under_way.will.flags.is_none()
        });
    }

    pub(super) const fn new_msg_id(&mut self) -> u16 {
        self.next_msg_id = match self.next_msg_id.wrapping_add(1) {
            0 => 1,
            id => id,
        };
        self.next_msg_id
    }
}

/// What a CONNECT says.
#[derive(Clone, Copy, Debug)]
pub struct SnConnect<'a> {
    /// Whether there is a will, and a session to go on with.
    pub flags: SnFlags,
    /// The keep alive.
    pub duration_s: u16,
    /// Who it is.
    pub client_id: &'a str,
}

/// A PUBLISH of MQTT has 6 bytes at least beside its payload, one of MQTT-SN 9 at most.
const DATAGRAM_BEYOND_PACKET_BYTES: u32 = 4;
