//! The threads that ask back ends: each waits for one answer at a time.
//!
//! Always holds: there are as many as the operator allows requests at one time; what nobody waits for any more is not asked; a back end
//! that does not answer holds up those who ask it, and nobody else.

use std::{io, thread};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::clock;
use super::http_client::HttpClient;
use crate::auth::http::HttpAnswer;
use crate::auth::{AuthWork, Job, JobId, WorkDone};
use crate::limits::AUTH_WORK_MAX;

/// A request, and by what it is sent.
pub(super) type AskingJob = (Job, HttpClient);

/// Starts so many threads. What comes of their work goes to `finished`.
pub(super) fn start(threads: usize, finished: &Sender<(JobId, WorkDone)>) -> io::Result<Sender<AskingJob>> {
    let (ask, asked) = bounded::<AskingJob>(AUTH_WORK_MAX);
    for number in 0..threads {
        let (asked, finished) = (asked.clone(), finished.clone());
        thread::Builder::new().name(format!("auth-http-{number}")).spawn(move || run(&asked, &finished))?;
    }
    Ok(ask)
}

fn run(asked: &Receiver<AskingJob>, finished: &Sender<(JobId, WorkDone)>) {
    for (job, client) in asked {
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
