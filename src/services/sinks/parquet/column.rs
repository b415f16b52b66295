//! One column of a Parquet file: its type, and the values of all rows.
//!
//! Always holds: a value that the column's type cannot hold is an error, and never another value.
//! Leaves to others: files (`super`).

use minijinja::Value;
use minijinja::value::ValueKind;
use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as PhysicalType};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedColumnWriter;
use parquet::schema::types::Type;

use crate::config::targets::ParquetType;

/// One value, or none.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ParquetCell {
    Null,
    Bytes(Vec<u8>),
    Integer(i64),
    Number(f64),
    Boolean(bool),
}

/// The values of a column; those of rows that have none are left out, and its levels say where.
#[derive(Debug)]
pub(super) struct ParquetColumn {
    values: Values,
    /// 1 for a row that has a value, 0 for one that has none.
    levels: Vec<i16>,
}

#[derive(Debug)]
enum Values {
    Bytes(Vec<ByteArray>),
    Integers(Vec<i64>),
    Numbers(Vec<f64>),
    Booleans(Vec<bool>),
}

impl ParquetColumn {
    pub(super) fn new(kind: ParquetType, rows: usize) -> Self {
        let values = match kind {
            ParquetType::Text | ParquetType::Bytes => Values::Bytes(Vec::with_capacity(rows)),
            ParquetType::Integer | ParquetType::Time => Values::Integers(Vec::with_capacity(rows)),
            ParquetType::Number => Values::Numbers(Vec::with_capacity(rows)),
            ParquetType::Boolean => Values::Booleans(Vec::with_capacity(rows)),
        };
        Self { values, levels: Vec::with_capacity(rows) }
    }

    /// Adds the next row's.
    pub(super) fn push(&mut self, cell: ParquetCell) {
        let is_there = cell != ParquetCell::Null;
        match (&mut self.values, cell) {
            (Values::Bytes(all), ParquetCell::Bytes(value)) => all.push(value.into()),
            (Values::Integers(all), ParquetCell::Integer(value)) => all.push(value),
            (Values::Numbers(all), ParquetCell::Number(value)) => all.push(value),
            (Values::Booleans(all), ParquetCell::Boolean(value)) => all.push(value),
            (_, cell) => assert_eq!(cell, ParquetCell::Null, "a cell is made for the type of its column"),
        }
        self.levels.push(is_there.into());
    }

    pub(super) fn write(&self, into: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        let levels = Some(&*self.levels);
        match &self.values {
            Values::Bytes(values) => into.typed::<ByteArrayType>().write_batch(values, levels, None)?,
            Values::Integers(values) => into.typed::<Int64Type>().write_batch(values, levels, None)?,
            Values::Numbers(values) => into.typed::<DoubleType>().write_batch(values, levels, None)?,
            Values::Booleans(values) => into.typed::<BoolType>().write_batch(values, levels, None)?,
        };
        Ok(())
    }
}

impl ParquetCell {
    /// The value as the column's type has it.
    pub(super) fn of(kind: ParquetType, value: &Value) -> Result<Self, String> {
        if value.is_none() || value.is_undefined() {
            return Ok(Self::Null);
        }
        let unfit = |what: &str| format!("{} is no {what}", cut(value));
        Ok(match kind {
            ParquetType::Bytes => match value.as_bytes() {
                Some(bytes) => Self::Bytes(bytes.to_vec()),
                None => Self::Bytes(text(value)?.into_bytes()),
            },
            ParquetType::Text => Self::Bytes(text(value)?.into_bytes()),
            ParquetType::Integer | ParquetType::Time if value.kind() == ValueKind::Number => {
                Self::Integer(i64::try_from(value.clone()).map_err(|_| unfit("integer of 64 bits"))?)
            }
            ParquetType::Integer => return Err(unfit("integer of 64 bits")),
            ParquetType::Time => return Err(unfit("time in milliseconds since 1970")),
            ParquetType::Number if value.kind() == ValueKind::Number => {
                Self::Number(f64::try_from(value.clone()).map_err(|_| unfit("number"))?)
            }
            ParquetType::Number => return Err(unfit("number")),
            ParquetType::Boolean if value.kind() == ValueKind::Bool => Self::Boolean(value.is_true()),
            ParquetType::Boolean => return Err(unfit("true or false")),
        })
    }
}

/// Text as it is; lists and members as JSON.
fn text(value: &Value) -> Result<String, String> {
    match (value.kind(), value.as_bytes()) {
        (ValueKind::String | ValueKind::Bytes, Some(bytes)) => {
            String::from_utf8(bytes.to_vec()).map_err(|_| "it is no UTF-8".to_owned())
        }
        (ValueKind::Seq | ValueKind::Map | ValueKind::Iterable, _) => {
            serde_json::to_string(value).map_err(|error| error.to_string())
        }
        (ValueKind::Bool, _) => Ok(if value.is_true() { "true" } else { "false" }.to_owned()),
        _ => Ok(value.to_string()),
    }
}

/// The beginning of a value, for a message.
fn cut(value: &Value) -> String {
    value.to_string().chars().filter(|c| !c.is_control()).take(40).collect()
}

/// The column in the file's schema.
pub(super) fn field(name: &str, kind: ParquetType) -> Result<Type, ParquetError> {
    let (physical, logical) = match kind {
        ParquetType::Text => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
        ParquetType::Bytes => (PhysicalType::BYTE_ARRAY, None),
        ParquetType::Integer => (PhysicalType::INT64, None),
        ParquetType::Number => (PhysicalType::DOUBLE, None),
        ParquetType::Boolean => (PhysicalType::BOOLEAN, None),
        ParquetType::Time => (PhysicalType::INT64, Some(LogicalType::timestamp(true, TimeUnit::MILLIS))),
    };
    let builder = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
    builder.with_logical_type(logical).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_does_not_fit_is_an_error() {
        use ParquetType::{Boolean, Bytes, Integer, Number, Text, Time};
        let good = [
            (Text, Value::from("x"), ParquetCell::Bytes(b"x".to_vec())),
            (Text, Value::from(true), ParquetCell::Bytes(b"true".to_vec())),
            (Text, Value::from(vec![1, 2]), ParquetCell::Bytes(b"[1,2]".to_vec())),
            (Bytes, Value::from_bytes(vec![0xff]), ParquetCell::Bytes(vec![0xff])),
            (Integer, Value::from(-5), ParquetCell::Integer(-5)),
            (Time, Value::from(1_796_040_000_123_u64), ParquetCell::Integer(1_796_040_000_123)),
            (Number, Value::from(5), ParquetCell::Number(5.0)),
            (Number, Value::from(1.5), ParquetCell::Number(1.5)),
            (Boolean, Value::from(false), ParquetCell::Boolean(false)),
            (Boolean, Value::UNDEFINED, ParquetCell::Null),
            (Integer, Value::from(()), ParquetCell::Null),
        ];
        for (kind, value, expected) in good {
            assert_eq!(ParquetCell::of(kind, &value), Ok(expected), "{kind:?} {value:?}");
        }
        let bad = [
            (Text, Value::from_bytes(vec![0xff])),
            (Integer, Value::from("5")),
            (Integer, Value::from(1.5)),
            (Integer, Value::from(u64::MAX)),
            (Time, Value::from("2026-11-30")),
            (Number, Value::from(true)),
            (Boolean, Value::from(1)),
        ];
        for (kind, value) in bad {
            assert!(ParquetCell::of(kind, &value).is_err(), "{kind:?} {value:?}");
        }
    }
}
