//! Files, as another reader reads them: the crate's own here, `DuckDB` where `scripts/test` has installed it.

use std::path::PathBuf;
use std::process::Command;

use parquet::file::reader::{FileReader as _, SerializedFileReader};

use super::*;
use crate::config::targets::ParquetType;
use crate::services::sinks::samples::row;
use crate::template::Formula;

/// A folder that goes at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dunlin-parquet-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn settings(folder: &Folder, compresses: bool) -> ParquetSettings {
    let columns = [
        ("topic", "topic", ParquetType::Text),
        ("time", "time_ms", ParquetType::Time),
        ("t", "payload.t", ParquetType::Number),
        ("n", "payload.n", ParquetType::Integer),
        ("on", "payload.on", ParquetType::Boolean),
        ("raw", "output_bytes", ParquetType::Bytes),
    ];
    let columns = columns.map(|(name, formula, kind)| (name.to_owned(), Formula::parse(formula).unwrap(), kind));
    ParquetSettings { folder: folder.0.clone(), prefix: "kilns".to_owned(), columns: columns.into(), compresses }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn batch() -> Vec<Row> {
    vec![
        row(1, "kiln/1", r#"{"t":21.5,"n":-3,"on":true}"#),
        row(2, "kiln/2", r#"{"t":"warm"}"#),
        row(3, "kiln/3", r#"{"n":9007199254740993}"#),
    ]
}

#[test]
fn a_batch_is_a_file_that_others_read() {
    for compresses in [true, false] {
        let folder = Folder::new(if compresses { "snappy" } else { "plain" });
        let mut target = ParquetTarget::new(settings(&folder, compresses));
        let delivered = block_on(target.deliver(&batch()));
        let Ok(Delivered::Some { rejected }) = delivered else { panic!("{delivered:?}") };
        assert_eq!(rejected.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1], "{rejected:?}");
        let [name] = &folder.names()[..] else { panic!("{:?}", folder.names()) };
        assert!(name.starts_with("kilns-") && name.ends_with("-00000000000000000000000000000001.parquet"), "{name}");

        let reader = SerializedFileReader::new(File::open(folder.0.join(name)).unwrap()).unwrap();
        let rows: Vec<String> = reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect();
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert!(rows[0].contains("t: 21.5") && rows[0].contains("n: -3") && rows[0].contains("on: true"), "{rows:?}");
        assert!(rows[1].contains("n: 9007199254740993") && rows[1].contains("t: null"), "{rows:?}");
    }
}

#[test]
fn another_program_reads_the_same() {
    let folder = Folder::new("duckdb");
    let mut target = ParquetTarget::new(settings(&folder, true));
    block_on(target.deliver(&batch())).unwrap();
    block_on(target.deliver(&[row(9, "kiln/9", r#"{"t":1}"#)])).unwrap();
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let program = "import sys, duckdb\nfor row in duckdb.sql(\"SELECT topic, epoch_ms(time), t, n, \\\"on\\\", raw FROM \
        read_parquet('\" + sys.argv[1] + \"/*.parquet') ORDER BY topic\").fetchall(): print(*row)";
    let output = Command::new(python).args(["-c", program]).arg(&folder.0).output().expect("scripts/test installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = "kiln/1 1796040000123 21.5 -3 True b'{\"t\":21.5,\"n\":-3,\"on\":true}'\n\
        kiln/3 1796040000123 None 9007199254740993 None b'{\"n\":9007199254740993}'\n\
        kiln/9 1796040000123 1.0 None None b'{\"t\":1}'\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

#[test]
fn what_a_killed_process_left_half_written_goes_and_nothing_else() {
    let folder = Folder::new("sweep");
    for name in [".kilns-1-5-00.partial", ".other-1-5-00.partial", "kilns-1-00.parquet", ".kilns-note"] {
        fs::write(folder.0.join(name), "x").unwrap();
    }
    let mut target = ParquetTarget::new(settings(&folder, true));
    assert_eq!(block_on(target.deliver(&[row(1, "a", "{}")])), Ok(Delivered::All));
    let names = folder.names();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(!names.contains(&".kilns-1-5-00.partial".to_owned()), "{names:?}");
    assert_eq!(fs::read(folder.0.join("kilns-1-00.parquet")).unwrap(), b"x");
}

#[test]
fn a_folder_that_takes_nothing_is_tried_again_and_has_no_half_file() {
    let folder = Folder::new("missing");
    let mut elsewhere = settings(&folder, true);
    elsewhere.folder = folder.0.join("later");
    let mut target = ParquetTarget::new(elsewhere.clone());
    let failed = block_on(target.deliver(&[row(1, "a", "{}")]));
    assert!(matches!(failed, Err(DeliverError::Retry { .. })), "{failed:?}");
    fs::create_dir(&elsewhere.folder).unwrap();
    assert_eq!(block_on(target.deliver(&[row(1, "a", "{}")])), Ok(Delivered::All));
    assert_eq!(fs::read_dir(&elsewhere.folder).unwrap().count(), 1);
}

#[test]
fn a_file_that_is_there_is_never_written_over() {
    let folder = Folder::new("names");
    let (hidden, name) = (folder.0.join(".hidden"), folder.0.join("name"));
    fs::write(&hidden, "new").unwrap();
    fs::write(&name, "old").unwrap();
    assert!(give_name(&folder.0, &hidden, &name).is_err());
    assert_eq!(fs::read(&name).unwrap(), b"old");
}
