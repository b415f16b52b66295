//! Topics of Kafka, read by a member of a consumer group.
//!
//! Owns: the consumer, and for each partition which messages are not acknowledged here yet.
//! Always holds: the group's offset of a partition is that of the first message that is not acknowledged: a later one does not move it.
//! Leaves to others: publishing what comes (`super`).

use std::collections::{BTreeSet, HashMap};

use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::message::{FeedMessage, FeedPosition};
use crate::config::sources::KafkaFeedSettings;
use crate::services::kafka::{ConsumerNews, client_config};

/// How often offsets go to the cluster: so much may come again after a kill.
const COMMIT_INTERVAL_MS: &str = "1000";
/// How often the consumer says how far behind it is.
const STATISTICS_INTERVAL_MS: &str = "2000";

/// An open one; its end is waited for on a thread of its own, because it leaves the group and commits what is acknowledged.
pub(super) struct KafkaFeed {
    consumer: Option<StreamConsumer<ConsumerNews>>,
    news: ConsumerNews,
    progress: Progress,
}

impl Drop for KafkaFeed {
    fn drop(&mut self) {
        let consumer = self.consumer.take();
        let _ = std::thread::Builder::new().name("kafka-end".to_owned()).spawn(move || drop(consumer));
    }
}

impl KafkaFeed {
    pub(super) fn open(settings: &KafkaFeedSettings) -> Result<Self, String> {
        let mut config = client_config(&settings.cluster)?;
        config.set("group.id", &settings.group);
        config.set("enable.auto.commit", "true").set("auto.commit.interval.ms", COMMIT_INTERVAL_MS);
        config.set("enable.auto.offset.store", "false");
        config.set("auto.offset.reset", if settings.from_start { "earliest" } else { "latest" });
        config.set("statistics.interval.ms", STATISTICS_INTERVAL_MS);
        let news = ConsumerNews::new();
        let created = config.create_with_context(news.clone());
        let consumer: StreamConsumer<ConsumerNews> = created.map_err(|error| error.to_string())?;
        let topics: Vec<&str> = settings.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(|error| error.to_string())?;
        Ok(Self { consumer: Some(consumer), news, progress: Progress::default() })
    }

    pub(super) fn news(&self) -> ConsumerNews {
        self.news.clone()
    }

    fn consumer(&self) -> &StreamConsumer<ConsumerNews> {
        self.consumer.as_ref().expect("it is taken at the end only")
    }

    pub(super) async fn next(&mut self) -> Result<FeedMessage, String> {
        let message = self.consumer().recv().await.map_err(|error| self.news.complaints.beside(&error))?.detach();
        let (topic, partition, offset) = (message.topic().to_owned(), message.partition(), message.offset());
        self.progress.begun(&topic, partition, offset);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = message.headers().map(|headers| {
            let all = headers.iter();
            all.map(|header| (header.key.to_owned(), header.value.map(text).unwrap_or_default())).collect()
        });
        Ok(FeedMessage {
            place: topic.clone(),
            key: message.key().map(|key| key.to_vec().into()),
            payload: message.payload().unwrap_or_default().to_vec().into(),
            headers: headers.unwrap_or_default(),
            time_ms: message.timestamp().to_millis().and_then(|ms| u64::try_from(ms).ok()),
            mark: FeedPosition::Kafka { topic, partition, offset },
        })
    }

    pub(super) fn taken(&mut self, topic: &str, partition: i32, offset: i64) -> Result<(), String> {
        let next = self.progress.done(topic, partition, offset);
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(topic, partition, Offset::Offset(next)).map_err(|error| error.to_string())?;
        // A partition that another member of the group has by now is not ours to commit: what is here comes to that one again.
        let _ = self.consumer().store_offsets(&offsets);
        Ok(())
    }
}

/// What is under way of each partition.
#[derive(Debug, Default)]
struct Progress {
    partitions: HashMap<(String, i32), Partition>,
}

#[derive(Debug, Default)]
struct Partition {
    open: BTreeSet<i64>,
    /// Behind the last message that came.
    next: i64,
}

impl Progress {
    fn begun(&mut self, topic: &str, partition: i32, offset: i64) {
        let of_partition = self.partitions.entry((topic.to_owned(), partition)).or_default();
        if of_partition.next > offset {
            // The partition was another's meanwhile, or it begins anew: what came before comes again.
            of_partition.open.clear();
        }
        of_partition.open.insert(offset);
        of_partition.next = offset + 1;
    }

    /// Where the group goes on from now.
    fn done(&mut self, topic: &str, partition: i32, offset: i64) -> i64 {
        let of_partition = self.partitions.entry((topic.to_owned(), partition)).or_default();
        of_partition.open.remove(&offset);
        of_partition.open.first().copied().unwrap_or(of_partition.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_stays_before_what_is_not_acknowledged() {
        let mut progress = Progress::default();
        for offset in [5, 6, 9, 10] {
            progress.begun("t", 0, offset);
        }
        progress.begun("t", 1, 100);
        assert_eq!(progress.done("t", 0, 6), 5);
        assert_eq!(progress.done("t", 0, 5), 9);
        assert_eq!(progress.done("t", 0, 10), 9);
        assert_eq!(progress.done("t", 0, 9), 11);
        assert_eq!(progress.done("t", 1, 100), 101);
    }

    #[test]
    fn a_partition_that_begins_anew_forgets_what_was_under_way() {
        let mut progress = Progress::default();
        progress.begun("t", 0, 50);
        progress.begun("t", 0, 51);
        progress.begun("t", 0, 20);
        // An acknowledgement of the earlier time.
        assert_eq!(progress.done("t", 0, 51), 20);
        assert_eq!(progress.done("t", 0, 20), 21);
    }
}
