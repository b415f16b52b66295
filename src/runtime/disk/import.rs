//! `dunlin store import`: what `dunlin store export` wrote becomes a data directory again, and so does what Mosquitto keeps.
//!
//! Always holds: a directory that has been used is refused; the manifest comes last, so one whose import was not finished is no data
//! directory, and nothing is left of one that failed; a line that cannot be read ends it, and is named. A message that many sessions are to get is written once a log.
//! An export does not have, and so an import does not: deletions of retained messages that are still remembered, and publishers that
//! have no session, by whom No Local is told.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};

use super::directory::{Access, Directory};
use super::import_line::{ImportError, ImportLine, NumberedLines};
use super::import_properties::are_properties;
use super::mosquitto_import::{ImportTarget, MosquittoLines};
use super::new_log_files::{DirectoryFiles, begin_log};
use super::open::new_manifest;
use super::request::StoreRequest;
use crate::auth::parse_permissions;
use crate::codec::SubscriptionOptions;
use crate::ids::{ClientKey, PacketId, Qos, SessionId, ShardId, SubscriptionId};
use crate::limits::SHARDS_MAX;
use crate::store::NewLog;
use crate::store::format::{
    BackEndDecision, FORMAT_VERSION, ForwardTarget, ListOf, LogRecord, Manifest, MessageId, MessageRecord,
    QueuedRecord, SessionOwner, WriteStamp,
};
use crate::store::mosquitto_db::{MOSQUITTO_DB_MAGIC, MosquittoDb};
use crate::time::Timestamp;
use crate::topic::{SubscribedFilter, TopicName};

/// Makes `request.path` a data directory of an export, or of a `mosquitto.db`. Gives what could not be carried over, a thing a line.
///
/// Its number of shards is that of the export, and its node's name if the request has none.
pub fn import(request: &StoreRequest, input: &mut dyn BufRead) -> Result<Vec<String>, ImportError> {
    // No line begins with it.
    if input.fill_buf()?.first() != MOSQUITTO_DB_MAGIC.first() {
        import_lines(request, input)?;
        return Ok(Vec::new());
    }
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes)?;
    let db = MosquittoDb::read(&bytes)?;
    let now_ms = request.now.unix_ms;
    let target = ImportTarget { node_name: "dunlin", shards: request.shards, now_ms };
    let (lines, left_out) = MosquittoLines::of(&db, target).write();
    import_lines(request, &mut BufReader::new(LineReader { lines, rest: Vec::new(), at: 0 }))?;
    Ok(left_out)
}

/// Lines that are made as they are read.
struct LineReader<L> {
    lines: L,
    rest: Vec<u8>,
    at: usize,
}

impl<L: Iterator<Item = String>> Read for LineReader<L> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.rest.len() {
            let Some(line) = self.lines.next() else { return Ok(0) };
            (self.rest, self.at) = (line.into_bytes(), 0);
        }
        let len = into.len().min(self.rest.len() - self.at);
        into[..len].copy_from_slice(&self.rest[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}

fn import_lines(request: &StoreRequest, input: &mut dyn BufRead) -> Result<(), ImportError> {
    let mut lines = NumberedLines::of(input);
    let first = lines.read_next()?.ok_or(ImportError::Empty)?;
    if first.text("kind")? != "directory" {
        return Err(first.error("the first line of an export is of kind \"directory\""));
    }
    if first.number("format", u16::MAX.into())? > FORMAT_VERSION.into() {
        return Err(first.error(format!("it is of a newer format than {FORMAT_VERSION}, which this dunlin knows")));
    }
    let shards = first.number("shards", SHARDS_MAX as u64)? as usize;
    if shards == 0 {
        return Err(first.error("\"shards\" is 0, and no directory has none"));
    }
    let node_name = if request.is_named { &request.node_name } else { first.text("node_name")? };
    let request = StoreRequest { node_name: node_name.to_owned(), shards, ..request.clone() };
    let is_new = !request.path.exists();
    let directory = Arc::new(Directory::open(&request.path, Access::Write)?);
    if directory.manifest()?.is_some() {
        return Err(ImportError::Used(request.path.display().to_string()));
    }
    directory.check_unused()?;
    let made = Timestamp(first.number("made_unix_ms", u64::MAX)?);
    let manifest = Manifest { made, epoch: 1, ..new_manifest(&request) };
    let made = import_into(&directory, &request, &manifest, &mut lines);
    if made.is_err() {
        // It would take room, and be nothing.
        directory.remove_unfinished(&manifest, is_new);
    }
    made
}

fn import_into(
    directory: &Arc<Directory>,
    request: &StoreRequest,
    manifest: &Manifest,
    lines: &mut NumberedLines<'_>,
) -> Result<(), ImportError> {
    let mut import = Import::begin(directory, request, manifest)?;
    while let Some(line) = lines.read_next()? {
        import.take(&line)?;
    }
    if !import.has_ended {
        return Err(ImportError::CutOff);
    }
    for log in import.logs {
        log.log.finish()?;
    }
    Ok(directory.write_manifest(manifest)?)
}

struct ImportedLog<'a> {
    log: NewLog<DirectoryFiles<'a>>,
    /// By what is in them.
    messages: HashMap<Vec<u8>, MessageId>,
}

struct Import<'a> {
    manifest: &'a Manifest,
    logs: Vec<ImportedLog<'a>>,
    /// Of the lines that follow: client id, shard and slot.
    session: Option<(String, usize, SessionId)>,
    /// Whether the last line was the last of an export.
    has_ended: bool,
}

impl<'a> Import<'a> {
    fn begin(
        directory: &'a Arc<Directory>,
        request: &'a StoreRequest,
        manifest: &'a Manifest,
    ) -> Result<Self, ImportError> {
        let mut logs = Vec::new();
        for shard in 0..manifest.shards {
            let log = begin_log(directory, request, manifest, ShardId(shard as u8))?;
            logs.push(ImportedLog { log, messages: HashMap::new() });
        }
        Ok(Self { manifest, logs, session: None, has_ended: false })
    }

    fn take(&mut self, line: &ImportLine) -> Result<(), ImportError> {
        if self.has_ended {
            return Err(line.error("it stands behind the line of kind \"end\", which is the last"));
        }
        let at = match line.text("kind")? {
            "end" => {
                self.has_ended = true;
                return Ok(());
            }
            "session" => self.session(line)?,
            "retained" => self.retained(line)?,
            "forward" => self.forward(line)?,
            "damage" => return Ok(()),
            kind => {
                let client_id = line.text("client_id")?;
                let session = self.session.as_ref().filter(|(of, ..)| of == client_id);
                let &(_, at, session) = session
                    .ok_or_else(|| line.error(format!("it stands behind no line of the session {client_id:?}")))?;
                match kind {
                    "owner" => self.owner(line, at, session)?,
                    "subscription" => self.subscription(line, at, session)?,
                    "will" => self.will(line, at, session)?,
                    "delivery" => self.delivery(line, at, session)?,
                    "allowed_filter" => {
                        let filter = filter_of(line, "filter")?;
                        self.push(at, &LogRecord::FilterDecided { session, filter, is_allowed: true });
                    }
                    "exchange" => {
                        let packet_id = packet_id_of(line)?;
                        self.push(at, &LogRecord::ExchangeOpened { session, packet_id });
                    }
                    kind => return Err(line.error(format!("nothing of kind {kind:?} is known"))),
                }
                at
            }
        };
        Ok(self.logs[at].log.write_some()?)
    }

    fn push(&mut self, at: usize, record: &LogRecord<'_>) {
        self.logs[at].log.push(record);
    }

    fn session(&mut self, line: &ImportLine) -> Result<usize, ImportError> {
        let client_id = line.text("client_id")?;
        let at = ShardId::owner_of(client_id, self.logs.len()).index();
        let session = self.logs[at].log.next_slot();
        let expiry_s = line.number_u32("expiry_s")?;
        let begun = Timestamp(line.number("begun_unix_ms", u64::MAX)?);
        self.push(at, &LogRecord::SessionBegun { session, client_id, expiry_s, at: begun });
        if let Some(gone) = line.maybe_number("disconnected_unix_ms", u64::MAX)? {
            self.push(at, &LogRecord::Disconnected { session, at: Timestamp(gone) });
        }
        self.session = Some((client_id.to_owned(), at, session));
        Ok(at)
    }

    fn owner(&mut self, line: &ImportLine, at: usize, session: SessionId) -> Result<(), ImportError> {
        let peer = line.maybe_text("peer")?;
        let peer =
            peer.map(|text| text.parse().map_err(|_| line.error(format!("{text:?} is no address")))).transpose()?;
        let rules = match line.value("rules") {
            serde_json::Value::Null => None,
            rules => Some(parse_permissions(rules).map_err(|error| line.error(error.to_string()))?.to_bytes()),
        };
        let owner = SessionOwner {
            user: line.maybe_text("user")?,
            listener: line.text("listener")?,
            peer,
            is_superuser: line.flag("superuser")?,
            asks_back_end: line.flag("back_end")?,
            rules: rules.as_deref(),
        };
        self.push(at, &LogRecord::SessionOwner { session, owner, keeps_filters: false });
        Ok(())
    }

    fn subscription(&mut self, line: &ImportLine, at: usize, session: SessionId) -> Result<(), ImportError> {
        // As SUBSCRIBE packs them (MQTT 5.0, 3.8.3.1).
        let (qos, handling) = (line.number("qos", 2)? as u8, line.number("retain_handling", 2)? as u8);
        let (no_local, as_published) = (line.flag("no_local")?, line.flag("retain_as_published")?);
        let options = qos | u8::from(no_local) << 2 | u8::from(as_published) << 3 | handling << 4;
        if SubscriptionOptions::from_bits(options).is_none() {
            return Err(line.error("there are no such options of a subscription"));
        }
        let filter = filter_of(line, "filter")?;
        let identifier = line.maybe_number("identifier", u32::MAX.into())?;
        let identifier = identifier.map(|number| subscription_id(line, number)).transpose()?;
        self.push(at, &LogRecord::Subscribed { session, filter, options, identifier });
        Ok(())
    }

    fn will(&mut self, line: &ImportLine, at: usize, session: SessionId) -> Result<(), ImportError> {
        let Some(message) = self.message(line, at)? else { return Ok(()) };
        let delay_s = line.number_u32("delay_s")?;
        let message_expiry_s = line.maybe_number("message_expiry_s", u32::MAX.into())?.map(|seconds| seconds as u32);
        self.push(at, &LogRecord::WillSet { session, message, delay_s, message_expiry_s });
        let decision = match line.maybe_text("back_end")? {
            None => return Ok(()),
            Some("allow") => BackEndDecision::Allow,
            Some("deny") => BackEndDecision::Deny,
            Some("ignore") => BackEndDecision::Ignore,
            Some(word) => return Err(line.error(format!("a back end does not say {word:?}"))),
        };
        self.push(at, &LogRecord::WillDecided { session, decision });
        Ok(())
    }

    fn delivery(&mut self, line: &ImportLine, at: usize, session: SessionId) -> Result<(), ImportError> {
        let packet_id = match line.text("state")? {
            "released" => {
                let packet_id = packet_id_of(line)?;
                self.push(at, &LogRecord::Released { session, packet_id });
                return Ok(());
            }
            "sent" => Some(packet_id_of(line)?),
            "queued" => None,
            state => return Err(line.error(format!("no delivery is {state:?}"))),
        };
        let Some(message) = self.message(line, at)? else { return Ok(()) };
        let qos = if line.number("qos", 2)? == 2 { Qos::ExactlyOnce } else { Qos::AtLeastOnce };
        let ids = line.list("subscription_identifiers")?.iter();
        let ids: Vec<SubscriptionId> =
            ids.map(|id| subscription_id(line, id.as_u64().unwrap_or(0))).collect::<Result<_, _>>()?;
        let group = line.maybe_text("group")?.map(|text| self.group(line, text)).transpose()?;
        let (retain, ids) = (line.flag("retain")?, ListOf::Values(&ids));
        self.push(at, &LogRecord::Queued(QueuedRecord { session, message, qos, retain, packet_id, group, ids }));
        Ok(())
    }

    fn retained(&mut self, line: &ImportLine) -> Result<usize, ImportError> {
        let topic = topic_of(line, "retained_topic")?;
        let at = ShardId::owner_of(topic, self.logs.len()).index();
        if let Some(message) = self.message(line, at)? {
            let stamp = WriteStamp { time_ns: line.number("stamp_ns", u64::MAX)?, shard: 0 };
            self.push(at, &LogRecord::Retained { topic, stamp, message: Some(message) });
        }
        Ok(at)
    }

    fn forward(&mut self, line: &ImportLine) -> Result<usize, ImportError> {
        let last = self.logs.len() as u64 - 1;
        let (at, to) = (line.number("from_shard", last)? as usize, line.number("to_shard", last)? as u8);
        if let Some(message) = self.message(line, at)? {
            let groups = line.list("groups")?.iter();
            let groups: Vec<u64> =
                groups.map(|text| self.group(line, text.as_str().unwrap_or_default())).collect::<Result<_, _>>()?;
            let stamp = line.maybe_number("retained_stamp_ns", u64::MAX)?;
            let target = ForwardTarget {
                to: ShardId(to),
                number: line.number("number", u64::MAX >> 1)?,
                message,
                plain: line.flag("plain")?,
                retained: stamp.map(|time_ns| WriteStamp { time_ns, shard: 0 }),
                groups: ListOf::Values(&groups),
            };
            self.push(at, &LogRecord::Forward(target));
        }
        Ok(at)
    }

    /// The key of a shared subscription.
    fn group(&self, line: &ImportLine, text: &str) -> Result<u64, ImportError> {
        let parsed = SubscribedFilter::parse(text, u16::MAX).ok();
        let shared = parsed.and_then(|filter| Some((filter.share?, filter.filter)));
        let (share, filter) = shared.ok_or_else(|| line.error(format!("{text:?} is no shared subscription")))?;
        Ok(self.manifest.names.group(share, filter.as_str()))
    }

    /// The message of a line, written down if it was not yet; `None` for one that was lost before.
    fn message(&mut self, line: &ImportLine, at: usize) -> Result<Option<MessageId>, ImportError> {
        if line.flag("lost")? {
            return Ok(None);
        }
        let topic = topic_of(line, "topic")?;
        let properties = line.bytes("properties_base64")?;
        if !are_properties(&properties) {
            return Err(line.error("\"properties_base64\" is no list of properties of a message"));
        }
        let payload = match line.maybe_text("payload")? {
            Some(text) => text.as_bytes().to_vec(),
            None => line.bytes("payload_base64")?,
        };
        let qos = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][line.number("published_qos", 2)? as usize];
        let publisher: Option<ClientKey> = line.maybe_text("publisher")?.map(|id| self.manifest.names.client(id));
        let message = MessageRecord {
            id: MessageId(0),
            qos,
            retain: line.flag("published_retain")?,
            expires: line.maybe_number("expires_unix_ms", u64::MAX)?.map(Timestamp),
            publisher,
            topic,
            properties: &properties,
            properties_bytes: properties.len() as u32,
            payload: &payload,
            later_bytes: 0,
        };
        let ImportedLog { log, messages } = &mut self.logs[at];
        Ok(Some(*messages.entry(digest_of(&message)).or_insert_with(|| log.push_message(&message))))
    }
}

/// What tells messages apart.
fn digest_of(message: &MessageRecord<'_>) -> Vec<u8> {
    let MessageRecord { qos, retain, expires, publisher, topic, properties, payload, .. } = *message;
    let mut context = Context::new(&SHA256);
    let head = format!("{} {retain} {expires:?} {publisher:?} {} {}", qos as u8, topic.len(), properties.len());
    for part in [head.as_bytes(), topic.as_bytes(), properties, payload] {
        context.update(part);
    }
    context.finish().as_ref().to_vec()
}

fn topic_of<'a>(line: &'a ImportLine, name: &str) -> Result<&'a str, ImportError> {
    let topic = line.text(name)?;
    let is_one = TopicName::parse(topic, u16::MAX).is_ok() || topic.starts_with('$');
    if is_one { Ok(topic) } else { Err(line.error(format!("{topic:?} is no topic"))) }
}

fn filter_of<'a>(line: &'a ImportLine, name: &str) -> Result<&'a str, ImportError> {
    let filter = line.text(name)?;
    let is_one = SubscribedFilter::parse(filter, u16::MAX).is_ok();
    if is_one { Ok(filter) } else { Err(line.error(format!("{filter:?} is no filter"))) }
}

fn packet_id_of(line: &ImportLine) -> Result<PacketId, ImportError> {
    let number = line.number("packet_id", u16::MAX.into())? as u16;
    PacketId::new(number).ok_or_else(|| line.error("0 is no packet identifier"))
}

fn subscription_id(line: &ImportLine, number: u64) -> Result<SubscriptionId, ImportError> {
    let id = u32::try_from(number).ok().and_then(SubscriptionId::new);
    id.ok_or_else(|| line.error(format!("{number} is no subscription identifier")))
}
