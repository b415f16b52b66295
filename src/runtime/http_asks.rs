//! The threads that ask back ends: each waits for one answer at a time.
//!
//! Always holds: there are as many as the operator allows requests at one time; logins come before topics, and a quarter of the threads asks about
//! logins alone, so that clients that are in already keep nobody out; what nobody waits for any more is not asked; a back end that does
//! not answer holds up those who ask it, and nobody else.

use std::{io, thread};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::clock;
use super::http_client::HttpClient;
use crate::auth::http::HttpAnswer;
use crate::auth::{AuthWork, Job, JobId, JobPurpose, WorkDone};
use crate::limits::AUTH_WORK_MAX;

/// A request, and by what it is sent.
type AskingJob = (Job, HttpClient);

/// The ways to the threads.
#[derive(Debug)]
pub(super) struct Askers {
    logins: Sender<AskingJob>,
    topics: Sender<AskingJob>,
}

impl Askers {
    /// Has a request sent. Returns whether there was room, which there is for as many as the authenticator has under way.
    pub(super) fn ask(&self, job: Job, client: HttpClient) -> bool {
        let way = match job.purpose {
            JobPurpose::Login => &self.logins,
            JobPurpose::Topic => &self.topics,
        };
        way.try_send((job, client)).is_ok()
    }
}

/// What a thread takes requests from.
#[derive(Clone)]
struct AskerLanes {
    logins: Receiver<AskingJob>,
    /// None where it asks about logins alone.
    topics: Option<Receiver<AskingJob>>,
}

impl AskerLanes {
    /// The next request; `None` when the broker stops.
    fn next(&self) -> Option<AskingJob> {
        let Some(topics) = &self.topics else { return self.logins.recv().ok() };
        if let Ok(job) = self.logins.try_recv() {
            return Some(job);
        }
        select! {
            recv(self.logins) -> job => job.ok(),
            recv(topics) -> job => job.ok(),
        }
    }
}

/// How many of so many threads ask about logins alone. The only one does both.
const fn for_logins_alone(threads: usize) -> usize {
    if threads > 1 { threads.div_ceil(4) } else { 0 }
}

/// Starts so many threads. What comes of their work goes to `finished`.
pub(super) fn start(threads: usize, finished: &Sender<(JobId, WorkDone)>) -> io::Result<Askers> {
    let ((logins, asked_logins), (topics, asked_topics)) = (bounded(AUTH_WORK_MAX), bounded(AUTH_WORK_MAX));
    for number in 0..threads {
        let topics = (number >= for_logins_alone(threads)).then(|| asked_topics.clone());
        let (asked, finished) = (AskerLanes { logins: asked_logins.clone(), topics }, finished.clone());
        thread::Builder::new().name(format!("auth-http-{number}")).spawn(move || run(&asked, &finished))?;
    }
    Ok(Askers { logins, topics })
}

fn run(asked: &AskerLanes, finished: &Sender<(JobId, WorkDone)>) {
    while let Some((job, client)) = asked.next() {
        let AuthWork::Http(request) = &job.work else { unreachable!("only requests come here") };
        let done = if job.deadline.is_due(clock::now()) {
            WorkDone::TooLate
        } else {
            WorkDone::Answered(match client.post(&request.url, &request.body) {
                Ok(reply) => HttpAnswer::Reply { status: reply.status, body: reply.body.into() },
                Err(error) => {
                    crate::telemetry::log::event::back_end_failed(&request.url, &error);
                    HttpAnswer::NoReply
                }
            })
        };
        if finished.send((job.id, done)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_threads_are_there_for_logins_whatever_else_is_asked() {
        for (threads, alone) in [(1, 0), (2, 1), (4, 1), (5, 2), (16, 4), (256, 64)] {
            assert_eq!(for_logins_alone(threads), alone, "{threads}");
            assert!(alone < threads);
        }
    }
}
