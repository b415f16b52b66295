//! The two ways of a node to the engine: connections to two of its servers.
//!
//! Owns: both connections, which servers they lead to, and who waits for an answer by them.
//! Always holds: they lead to two servers wherever two are named, also after one is lost. What one has not answered within [`ENGINE_SAY_AGAIN_MS`] is said again
//! by the other, at once where it fails, and the first answer that says something counts; nobody waits longer than [`ENGINE_ANSWER_MS`]. Who waits no longer leaves
//! nothing behind.
//! Leaves to others: what is asked, and that saying it twice does no harm (`control_store`, `log_asks`).

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{
    Client, ConnectError, ConnectOptions, HeaderMap, Message, ReconnectToServer, Server, ServerAddr, StatusCode,
    Subscriber,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::limits::{ENGINE_ANSWER_MS, ENGINE_SAY_AGAIN_MS};
use crate::services::nats::words_of;

/// Pause before a server is tried again that could not be connected to, and longest such pause, in milliseconds.
const REDIAL_MS: u64 = 50;
const REDIAL_MAX_MS: u64 = 800;

/// What the engine is asked, by whichever way.
#[derive(Clone, Debug)]
pub(super) struct EngineQuestion {
    pub(super) subject: String,
    pub(super) headers: Option<HeaderMap>,
    pub(super) payload: Bytes,
}

/// Which server each way leads to, or tries to.
#[derive(Debug, Default)]
pub(super) struct WayPlaces([Option<ServerAddr>; 2]);

/// One connection. The library makes it again where it is lost.
struct EngineWay {
    client: Client,
    /// Answers come to subjects that begin so, and end with a number.
    inbox: String,
    next: AtomicU64,
    waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<Message>>>>,
    listener: JoinHandle<()>,
}

/// See the module's text.
#[derive(Clone)]
pub(super) struct EngineWays {
    ways: Arc<[EngineWay; 2]>,
    /// By which one things are said at first: the one that answered when the other did not.
    first: Arc<AtomicUsize>,
}

/// Has a connection go to a server that the other one does not go to. `own` is which of the two it is.
pub(super) fn apart(options: ConnectOptions, places: &Arc<Mutex<WayPlaces>>, own: usize) -> ConnectOptions {
    let places = Arc::clone(places);
    options.reconnect_to_server_callback(move |servers, _| {
        let mut places = lock(&places);
        let WayPlaces(known) = &mut *places;
        // The first time any server does, and the library tries them all.
        let is_new = own == 0 && known[0].is_none();
        let picked = if is_new { None } else { pick(&servers, known[own].as_ref(), known[1 - own].as_ref()) };
        if let Some(picked) = &picked {
            known[own] = Some(picked.addr.clone());
        }
        std::future::ready(picked)
    })
}

/// The server that failed least, but for the one that the other way leads to; where there is no other, that one.
fn pick(servers: &[Server], lost: Option<&ServerAddr>, others: Option<&ServerAddr>) -> Option<ReconnectToServer> {
    let is_apart = |server: &&Server| servers.len() < 2 || Some(&server.addr) != others;
    let failed = |server: &&Server| server.failed_attempts + usize::from(Some(&server.addr) == lost);
    let server = servers.iter().filter(is_apart).min_by_key(failed)?;
    let pause = match server.failed_attempts {
        0 => 0,
        failed => (REDIAL_MS << failed.min(8)).min(REDIAL_MAX_MS),
    };
    Some(ReconnectToServer { addr: server.addr.clone(), delay: Some(Duration::from_millis(pause)) })
}

impl EngineWays {
    /// Of the first connection, which stands, and a second one, which is made now and then as often as is necessary.
    pub(super) async fn new(
        first: Client,
        second: ConnectOptions,
        servers: &[String],
        places: &Mutex<WayPlaces>,
    ) -> Result<Self, String> {
        let known = first.server_pool().await.map_err(|error| words_of(&error))?;
        lock(places).0[0] = known.into_iter().find(|server| server.did_connect).map(|server| server.addr);
        let second = second.retry_on_initial_connect().connect(servers).await;
        let second = second.map_err(|error: ConnectError| words_of(&error))?;
        let ways = [EngineWay::open(first).await?, EngineWay::open(second).await?];
        Ok(Self { ways: Arc::new(ways), first: Arc::default() })
    }

    /// The connection that things are said by at first.
    pub(super) fn first(&self) -> &Client {
        &self.ways[self.first.load(Ordering::Relaxed)].client
    }

    /// Asks by one way, and by the other where that says nothing. `read` tells what an answer says; where it says nothing for good, the answer of the other
    /// way may. The error is the last of what went wrong, in words.
    pub(super) async fn ask<T>(
        &self,
        question: &EngineQuestion,
        read: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<T, String> {
        let within = Duration::from_millis(ENGINE_ANSWER_MS);
        timeout(within, self.ask_both(question, read)).await.unwrap_or_else(|_| Err(silent()))
    }

    /// Asks by one way alone: what must not be said twice.
    pub(super) async fn ask_once<T>(
        &self,
        question: &EngineQuestion,
        read: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<T, String> {
        let way = &self.ways[self.first.load(Ordering::Relaxed)];
        let within = Duration::from_millis(ENGINE_ANSWER_MS);
        let said = timeout(within, way.ask(question)).await.unwrap_or_else(|_| Err(silent()));
        read(&said?)
    }

    async fn ask_both<T>(
        &self,
        question: &EngineQuestion,
        read: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<T, String> {
        let first = self.first.load(Ordering::Relaxed);
        let mut other = Some(1 - first);
        let mut said = FuturesUnordered::new();
        let say = |way: usize| async move { (way, self.ways[way].ask(question).await) };
        said.push(say(first));
        let say_again = sleep(Duration::from_millis(ENGINE_SAY_AGAIN_MS));
        tokio::pin!(say_again);
        loop {
            let (way, answer) = tokio::select! {
                biased;
                Some(answer) = said.next() => answer,
                () = &mut say_again, if other.is_some() => {
                    said.extend(other.take().map(say));
                    continue;
                }
            };
            match answer.and_then(|answer| read(&answer)) {
                Ok(answer) => {
                    self.first.store(way, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(why) if other.is_none() && said.is_empty() => return Err(why),
                Err(_) => said.extend(other.take().map(say)),
            }
        }
    }
}

fn silent() -> String {
    format!("no server answers within {ENGINE_ANSWER_MS} ms")
}

impl fmt::Debug for EngineWays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineWays").field("first", &self.first).finish_non_exhaustive()
    }
}

impl EngineWay {
    async fn open(client: Client) -> Result<Self, String> {
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await.map_err(|error| words_of(&error))?;
        let waiting = Arc::default();
        let listener = tokio::spawn(listen(answers, Arc::clone(&waiting)));
        Ok(Self { client, inbox, next: AtomicU64::new(0), waiting, listener })
    }

    async fn ask(&self, question: &EngineQuestion) -> Result<Bytes, String> {
        // What is said to a connection that is lost is said later, and held up until then.
        if self.client.connection_state() != State::Connected {
            return Err("a connection to the engine is lost".to_owned());
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        lock(&self.waiting).insert(number, answer);
        let _waiter = EngineWaiter { number, waiting: &self.waiting };
        let (subject, reply) = (question.subject.clone(), format!("{}.{number}", self.inbox));
        let payload = question.payload.clone();
        let said = match question.headers.clone() {
            Some(headers) => self.client.publish_with_reply_and_headers(subject, reply, headers, payload).await,
            None => self.client.publish_with_reply(subject, reply, payload).await,
        };
        said.map_err(|error| words_of(&error))?;
        let answer = answered.await.map_err(|_| "a connection to the engine is closed".to_owned())?;
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            return Err("nobody in the engine is there to answer".to_owned());
        }
        Ok(answer.payload)
    }
}

impl Drop for EngineWay {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Someone who waits for an answer, until it is dropped.
struct EngineWaiter<'a> {
    number: u64,
    waiting: &'a Mutex<HashMap<u64, oneshot::Sender<Message>>>,
}

impl Drop for EngineWaiter<'_> {
    fn drop(&mut self) {
        lock(self.waiting).remove(&self.number);
    }
}

/// Gives each answer to whom it is for. One that nobody waits for any more is dropped.
async fn listen(mut answers: Subscriber, waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<Message>>>>) {
    while let Some(answer) = answers.next().await {
        let number = answer.subject.rsplit_once('.').and_then(|(_, number)| number.parse().ok());
        let waiter = number.and_then(|number: u64| lock(&waiting).remove(&number));
        if let Some(waiter) = waiter {
            let _ = waiter.send(answer);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, failed_attempts: usize) -> Server {
        let addr = name.parse().unwrap();
        Server { addr, failed_attempts, did_connect: false, is_discovered: false, last_error: None }
    }

    /// Where a connection goes that was at `lost` while the other is at `others`, and how long it waits before.
    fn picked(servers: &[Server], lost: &str, others: &str) -> (String, u64) {
        let addr = |name: &str| (!name.is_empty()).then(|| name.parse().unwrap());
        let picked = pick(servers, addr(lost).as_ref(), addr(others).as_ref()).unwrap();
        (picked.addr.host().to_owned(), picked.delay.unwrap().as_millis() as u64)
    }

    #[test]
    fn a_connection_goes_where_the_other_is_not_and_not_back_to_what_it_has_lost() {
        let three = ["a", "b", "c"].map(|name| server(name, 0));
        assert_eq!(picked(&three, "a", "b"), ("c".to_owned(), 0));
        assert_eq!(picked(&three, "", "a"), ("b".to_owned(), 0));
        // Of three one is dead, and the other way has the second.
        let dead = [server("a", 5), server("b", 0), server("c", 0)];
        assert_eq!(picked(&dead, "b", "c"), ("b".to_owned(), 0));
        let dead = [server("a", 1), server("b", 0), server("c", 2)];
        assert_eq!(picked(&dead, "a", "b"), ("a".to_owned(), 100));
        assert_eq!(picked(&[server("a", 60), server("b", 0)], "a", "b"), ("a".to_owned(), REDIAL_MAX_MS));
    }

    #[test]
    fn a_single_server_has_both() {
        assert_eq!(picked(&[server("a", 0)], "a", "a"), ("a".to_owned(), 0));
        assert!(pick(&[], None, None).is_none());
    }
}
