//! The result as tables, and as JSON.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Table, TableComponent};

use crate::bars::Measure;
use crate::metric::{Better, Metric, rounded};
use crate::round::{Outcome, Row};

const COLUMNS: [&str; 8] =
    ["subject", "figure", "median", "ratio", "[least..most]", "must", "aim", "holds"];

/// One scenario's table.
pub fn table(outcome: &Outcome) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(COLUMNS);
    table.set_style(TableComponent::HeaderLines, '─');
    let mut last = "";
    for row in outcome.rows.iter().filter(|row| is_told(row)) {
        let subject = if row.subject == last { "" } else { row.subject };
        last = row.subject;
        table.add_row(cells(subject, row));
    }
    for column in 2..=6 {
        let column = table.column_mut(column).expect("it has eight columns");
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("\n{}: {} ({:.1?})\n{table}", outcome.name, outcome.about, outcome.took)
}

/// What was missed, each in a line.
pub fn misses(rows: &[Row]) -> Vec<String> {
    let missed = rows.iter().filter(|row| row.holds == Some(false));
    missed
        .map(|row| {
            let measured = match (row.to_limit, row.measure) {
                (Some(to_limit), _) => format!("{} of its limit", rounded(to_limit)),
                (None, Some(Measure::Ratio)) => rounded(row.ratio),
                (None, Some(Measure::Value) | None) => row.metric.show(row.value),
            };
            let must = bound(row, row.must);
            format!(
                "{}: {}: {} is {measured}, must be {must}",
                row.scenario,
                row.subject,
                row.metric.title()
            )
        })
        .collect()
}

/// Writes the rows as an array.
pub fn write_json(rows: &[Row], path: &Path) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    serde_json::to_writer_pretty(&mut file, rows)?;
    writeln!(file)?;
    file.flush()
}

/// Nobody reads that nothing happened.
fn is_told(row: &Row) -> bool {
    row.metric != Metric::Overlaps || row.value > 0.0
}

fn cells(subject: &str, row: &Row) -> Vec<Cell> {
    let compared = row.subject != row.reference;
    let spread = format!("[{}..{}]", rounded(row.ratio_min), rounded(row.ratio_max));
    let mut holds = String::from(match row.holds {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "",
    });
    if let Some(to_limit) = row.to_limit {
        let _ = write!(holds, ", {} of its limit", rounded(to_limit));
    }
    let texts = [
        subject.to_owned(),
        row.metric.title().to_owned(),
        row.metric.show(row.value),
        if compared { rounded(row.ratio) } else { String::new() },
        if compared { spread } else { String::new() },
        bound(row, row.must),
        bound(row, row.aim),
        holds,
    ];
    texts.into_iter().map(Cell::new).collect()
}

fn bound(row: &Row, bound: Option<f64>) -> String {
    let Some(bound) = bound else { return String::new() };
    let sign = match row.metric.better() {
        Better::Less => "≤",
        Better::More => "≥",
    };
    let number = match row.measure {
        Some(Measure::Value) => row.metric.show(bound),
        Some(Measure::Ratio) | None => rounded(bound),
    };
    format!("{sign} {number}")
}
