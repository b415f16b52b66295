//! The thread that does what takes as long as the disk does: making segments, putting them aside for another use, deleting.
//!
//! Always holds: orders are done one after the other, and each is reported once, in order. A full disk is a report like any
//! other; whoever gets it decides.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::directory::{Directory, make_folder};
use super::error::DirectoryError;
use super::held::take_unread;
use super::prepare::{SegmentFile, make_segment, move_file, open_segment, remove_file, replace_file, sync_folder_of};
use super::space::space_of;
use crate::limits::{STORE_ORDERS_MAX, STORE_QUARANTINED_MAX, STORE_SPARES_MAX};
use crate::store::format::{LogId, NewestSegment, SegmentNumber, StoreFile};

/// What is to be done about a log's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeeperOrder {
    /// Whose.
    pub log: LogId,
    /// What.
    pub kind: OrderKind,
}

/// See [`KeeperOrder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderKind {
    /// A segment is to be there, of a spare file or of a new one.
    Prepare(SegmentNumber),
    /// The same, if need be of the room that is left to others: without it nothing would be freed.
    PrepareReserved(SegmentNumber),
    /// A segment is not needed any more: it becomes a spare file, or is deleted if there are enough.
    Recycle(SegmentNumber),
    /// A damaged segment is not needed any more: somebody may want to look at it.
    PutAside(SegmentNumber),
    /// A checkpoint is not needed any more.
    DropCheckpoint(u32),
}

/// What came of an order.
#[derive(Debug)]
pub struct KeeperReport {
    /// Which.
    pub order: KeeperOrder,
    /// The segment that was prepared; or why it was not done.
    pub result: Result<Option<SegmentFile>, DirectoryError>,
}

/// See the module's text.
#[derive(Debug)]
pub struct Keeper {
    orders: Option<Sender<KeeperOrder>>,
    thread: Option<JoinHandle<()>>,
}

/// How the keeper works.
#[derive(Clone, Debug)]
struct Work {
    /// Kept locked for as long as there is work in it.
    directory: Arc<Directory>,
    segment_bytes: u64,
    /// Below this much room no new file is made.
    reserve_bytes: u64,
}

/// Where damaged files go that are not needed any more.
const QUARANTINE: &str = "quarantine";

impl Keeper {
    /// Does one order on the thread that calls.
    pub fn prepare_now(
        directory: &Arc<Directory>,
        (segment_bytes, reserve_bytes): (u64, u64),
        log: LogId,
        number: SegmentNumber,
    ) -> Result<SegmentFile, DirectoryError> {
        Work { directory: Arc::clone(directory), segment_bytes, reserve_bytes }.prepare(log, number, reserve_bytes)
    }

    /// Whether an order to prepare a segment would find room, on the thread that calls.
    pub fn check_now(
        directory: &Arc<Directory>,
        (segment_bytes, reserve_bytes): (u64, u64),
        log: LogId,
        number: SegmentNumber,
    ) -> Result<(), DirectoryError> {
        let work = Work { directory: Arc::clone(directory), segment_bytes, reserve_bytes };
        let is_there = work.is_whole(&directory.path_of(StoreFile::Segment(log, number)));
        let is_spare = |number: &u32| work.is_whole(&directory.path_of(StoreFile::Spare(log, *number)));
        if is_there || work.spares(log).iter().any(is_spare) { Ok(()) } else { work.check_room(reserve_bytes) }
    }

    /// Starts the thread. Each report is handed to `report`, on the keeper's thread.
    pub fn start(
        directory: Arc<Directory>,
        segment_bytes: u64,
        reserve_bytes: u64,
        report: impl Fn(KeeperReport) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (orders, taken) = bounded(STORE_ORDERS_MAX);
        let work = Work { directory, segment_bytes, reserve_bytes };
        let thread = std::thread::Builder::new().name("keeper".into()).spawn(move || work.run(&taken, report))?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Gives an order without waiting; `false` if too many wait already: give it again later.
    pub fn order(&self, order: KeeperOrder) -> bool {
        self.orders.as_ref().is_some_and(|orders| orders.try_send(order).is_ok())
    }
}

impl Drop for Keeper {
    /// What was ordered is done first.
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Work {
    fn run(&self, orders: &Receiver<KeeperOrder>, report: impl Fn(KeeperReport)) {
        for order in orders {
            let result = self.do_order(order);
            report(KeeperReport { order, result });
        }
    }

    fn do_order(&self, KeeperOrder { log, kind }: KeeperOrder) -> Result<Option<SegmentFile>, DirectoryError> {
        let path = |file: StoreFile| self.directory.path_of(file);
        match kind {
            OrderKind::Prepare(number) => return self.prepare(log, number, self.reserve_bytes).map(Some),
            OrderKind::PrepareReserved(number) => return self.prepare(log, number, 0).map(Some),
            OrderKind::Recycle(number) => {
                let segment = path(StoreFile::Segment(log, number));
                let spares = self.spares(log);
                let free = (0..STORE_SPARES_MAX as u32).find(|number| !spares.contains(number));
                match free.filter(|_| self.is_whole(&segment)) {
                    Some(free) => move_file(&segment, &path(StoreFile::Spare(log, free)))?,
                    None => remove_file(&segment)?,
                }
            }
            OrderKind::PutAside(number) => {
                let file = StoreFile::Segment(log, number);
                let aside = self.directory.path().join(QUARANTINE).join(file.to_string().replace('/', "-"));
                make_folder(&self.directory.path().join(QUARANTINE))?;
                move_file(&path(file), &aside)?;
                self.remove_oldest_aside()?;
            }
            OrderKind::DropCheckpoint(number) => remove_file(&path(StoreFile::Checkpoint(log, number)))?,
        }
        Ok(None)
    }

    /// Files that were put aside are kept, but for the oldest ones where they are many.
    fn remove_oldest_aside(&self) -> Result<(), DirectoryError> {
        let folder = self.directory.path().join(QUARANTINE);
        let of = |error| DirectoryError::of(&folder, error);
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(of)? {
            let entry = entry.map_err(of)?;
            files.push((entry.metadata().and_then(|found| found.modified()).map_err(of)?, entry.path()));
        }
        files.sort_unstable();
        let many = files.len().saturating_sub(STORE_QUARANTINED_MAX);
        files[..many].iter().try_for_each(|(_, path)| remove_file(path))
    }

    /// A segment that is there already was prepared before a restart, or before an attempt that came to nothing: whether its name is on the disk is not
    /// known.
    fn prepare(
        &self,
        log: LogId,
        number: SegmentNumber,
        left_to_others_bytes: u64,
    ) -> Result<SegmentFile, DirectoryError> {
        let path = |file: StoreFile| self.directory.path_of(file);
        let segment = path(StoreFile::Segment(log, number));
        if self.is_whole(&segment) {
            sync_folder_of(&segment)?;
        } else {
            let spare = self.unread_spare(log)?;
            if spare.is_none() {
                self.check_room(left_to_others_bytes)?;
            }
            make_segment(&segment, spare.as_deref(), self.segment_bytes)?;
        }
        self.note_newest(log, number)?;
        open_segment(&segment, number)
    }

    /// A spare file that can be used. One that somebody still reads is deleted instead: it stays readable for that one. So is one of
    /// when segments had another size: it would be in the way of others for good.
    fn unread_spare(&self, log: LogId) -> Result<Option<PathBuf>, DirectoryError> {
        for number in self.spares(log) {
            let path = self.directory.path_of(StoreFile::Spare(log, number));
            if self.is_whole(&path) && take_unread(&path).is_ok() {
                return Ok(Some(path));
            }
            remove_file(&path)?;
        }
        Ok(None)
    }

    /// Notes how far segments have been made, so that one that somebody deletes is missed.
    fn note_newest(&self, log: LogId, number: SegmentNumber) -> Result<(), DirectoryError> {
        let path = self.directory.path_of(StoreFile::Newest(log));
        let known = std::fs::read(&path).ok().and_then(|block| NewestSegment::open(&block).ok());
        if known.is_some_and(|known| known.0 >= number) {
            return Ok(());
        }
        match replace_file(&path, &NewestSegment(number).seal()) {
            Err(error) if error.is_full() => Ok(()), // it was never there, and there is no room for it
            noted => noted,
        }
    }

    /// Whether a file is there, as long as it is to be.
    fn is_whole(&self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|found| found.len() == self.segment_bytes)
    }

    fn check_room(&self, left_to_others_bytes: u64) -> Result<(), DirectoryError> {
        let (free_bytes, _) = space_of(self.directory.path())?;
        let needed_bytes = self.segment_bytes.saturating_add(left_to_others_bytes);
        if free_bytes < needed_bytes {
            return Err(DirectoryError::Full { path: self.directory.path().to_owned(), free_bytes, needed_bytes });
        }
        Ok(())
    }

    fn spares(&self, log: LogId) -> Vec<u32> {
        let folder = self.directory.path().join(log.to_string());
        let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut spares: Vec<u32> = names
            .filter_map(|entry| match StoreFile::parse(&format!("{log}/{}", entry.file_name().to_str()?))? {
                StoreFile::Spare(_, number) => Some(number),
                _ => None,
            })
            .collect();
        spares.sort_unstable();
        spares
    }
}

#[cfg(test)]
mod tests {
    use super::super::held::hold;
    use super::*;
    use crate::ids::ShardId;
    use crate::runtime::disk::Access;
    use std::fs;

    const LOG: LogId = LogId { generation: 1, shard: ShardId(0) };

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("dunlin-keeper-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    fn run(directory: &Arc<Directory>, reserve_bytes: u64, orders: &[OrderKind]) -> Vec<Result<(), String>> {
        let (sender, reports) = bounded(64);
        let report = move |report: KeeperReport| {
            let _ = sender.send(report.result.map(drop).map_err(|error| error.to_string()));
        };
        let keeper = Keeper::start(Arc::clone(directory), 64 * 1024, reserve_bytes, report).unwrap();
        for kind in orders {
            assert!(keeper.order(KeeperOrder { log: LOG, kind: *kind }));
        }
        drop(keeper);
        reports.try_iter().collect()
    }

    fn names(path: &std::path::Path) -> Vec<String> {
        let entries = fs::read_dir(path.join(LOG.to_string())).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != "newest");
        names.sort();
        names
    }

    #[test]
    fn segments_are_filled_once_and_go_round() {
        let path = folder("round");
        let directory = Arc::new(Directory::open(&path, Access::Write).unwrap());
        directory.make_log(LOG).unwrap();
        let one = SegmentNumber(1);
        assert_eq!(
            run(&directory, 0, &[OrderKind::Prepare(one), OrderKind::Prepare(SegmentNumber(2))]),
            [Ok(()), Ok(())]
        );
        assert_eq!(names(&path), ["segment-0000000001", "segment-0000000002"]);
        let newest = fs::read(directory.path_of(StoreFile::Newest(LOG))).unwrap();
        assert_eq!(NewestSegment::open(&newest), Ok(NewestSegment(SegmentNumber(2))));
        let segment = directory.path_of(StoreFile::Segment(LOG, one));
        assert_eq!(fs::read(&segment).unwrap(), vec![0; 64 * 1024]);
        fs::write(&segment, vec![7; 64 * 1024]).unwrap();
        // A full disk makes no new file, and does not need one either.
        let orders =
            [OrderKind::Recycle(one), OrderKind::Prepare(SegmentNumber(3)), OrderKind::Prepare(SegmentNumber(4))];
        let results = run(&directory, u64::MAX / 2, &orders);
        assert!(matches!(&results[..], [Ok(()), Ok(()), Err(full)] if full.contains("has no room")), "{results:?}");
        assert_eq!(names(&path), ["segment-0000000002", "segment-0000000003"]);
        // What frees room may have what is left to others.
        assert_eq!(run(&directory, u64::MAX / 2, &[OrderKind::PrepareReserved(SegmentNumber(4))]), [Ok(())]);
        assert_eq!(names(&path), ["segment-0000000002", "segment-0000000003", "segment-0000000004"]);
        assert_eq!(fs::read(directory.path_of(StoreFile::Segment(LOG, SegmentNumber(3)))).unwrap()[0], 7);
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn spare_files_of_another_size_are_no_room_and_make_room_for_others() {
        let path = folder("sizes");
        let directory = Arc::new(Directory::open(&path, Access::Write).unwrap());
        directory.make_log(LOG).unwrap();
        for number in 0..STORE_SPARES_MAX as u32 {
            fs::write(directory.path_of(StoreFile::Spare(LOG, number)), vec![0; 32 * 1024]).unwrap();
        }
        let [one, two] = [1, 2].map(SegmentNumber);
        let all_but_nothing = (64 * 1024, u64::MAX / 2);
        let room = Keeper::check_now(&directory, all_but_nothing, LOG, one);
        assert!(matches!(room, Err(DirectoryError::Full { .. })), "{room:?}");
        let results = run(&directory, u64::MAX / 2, &[OrderKind::Prepare(one)]);
        assert!(matches!(&results[..], [Err(full)] if full.contains("has no room")), "{results:?}");
        assert_eq!(names(&path), [""; 0], "they are gone");
        let orders = [OrderKind::Prepare(one), OrderKind::Recycle(one)];
        assert!(run(&directory, 0, &orders).iter().all(Result::is_ok));
        assert!(Keeper::check_now(&directory, all_but_nothing, LOG, two).is_ok(), "one of its own size is room");
        assert_eq!(run(&directory, u64::MAX / 2, &[OrderKind::Prepare(two)]), [Ok(())]);
        assert_eq!(names(&path), ["segment-0000000002"]);
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_file_that_somebody_reads_is_not_used_again() {
        let path = folder("read");
        let directory = Arc::new(Directory::open(&path, Access::Write).unwrap());
        directory.make_log(LOG).unwrap();
        let [one, two, three] = [1, 2, 3].map(SegmentNumber);
        let of = |number| directory.path_of(StoreFile::Segment(LOG, number));
        run(&directory, 0, &[OrderKind::Prepare(one)]);
        fs::write(of(one), vec![7; 64 * 1024]).unwrap();
        let mut held = hold(&of(one)).unwrap().unwrap();
        assert_eq!(run(&directory, 0, &[OrderKind::Recycle(one), OrderKind::Prepare(two)]), [Ok(()), Ok(())]);
        assert_eq!(names(&path), ["segment-0000000002"], "it is deleted");
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut held, &mut bytes).unwrap();
        assert_eq!((bytes, fs::read(of(two)).unwrap()), (vec![7; 64 * 1024], vec![0; 64 * 1024]));
        drop(held);
        run(&directory, 0, &[OrderKind::Recycle(two), OrderKind::Prepare(three)]);
        assert_eq!(names(&path), ["segment-0000000003"]);
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn damaged_files_are_put_aside_and_the_oldest_go() {
        let path = folder("aside");
        let directory = Arc::new(Directory::open(&path, Access::Write).unwrap());
        directory.make_log(LOG).unwrap();
        let numbers: Vec<_> = (1..=STORE_QUARANTINED_MAX as u32 + 2).map(SegmentNumber).collect();
        for (age_s, number) in numbers.iter().rev().enumerate() {
            let segment = fs::File::create(directory.path_of(StoreFile::Segment(LOG, *number))).unwrap();
            segment.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(age_s as u64)).unwrap();
        }
        let orders: Vec<_> = numbers.iter().map(|number| OrderKind::PutAside(*number)).collect();
        assert!(run(&directory, 0, &orders).iter().all(Result::is_ok));
        assert_eq!(names(&path), [""; 0]);
        let aside = fs::read_dir(path.join(QUARANTINE)).unwrap().map(|entry| entry.unwrap().file_name());
        let mut aside: Vec<_> = aside.map(|name| name.into_string().unwrap()).collect();
        aside.sort();
        assert_eq!(aside.len(), STORE_QUARANTINED_MAX);
        assert_eq!(aside[0], "log-1-0-segment-0000000003", "the two oldest are gone");
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn spare_files_do_not_pile_up_and_what_is_gone_may_be_deleted_again() {
        let path = folder("spares");
        let directory = Arc::new(Directory::open(&path, Access::Write).unwrap());
        directory.make_log(LOG).unwrap();
        let numbers = (1..=6).map(SegmentNumber);
        let orders: Vec<OrderKind> =
            numbers.clone().map(OrderKind::Prepare).chain(numbers.map(OrderKind::Recycle)).collect();
        assert!(run(&directory, 0, &orders).iter().all(Result::is_ok));
        assert_eq!(names(&path).len(), STORE_SPARES_MAX);
        assert_eq!(run(&directory, 0, &[OrderKind::DropCheckpoint(9)]), [Ok(())]);
        fs::remove_dir_all(path).unwrap();
    }
}
