//! The results: rows with a value for each repetition, shown as median and range, beside their targets and the floors
//! of the same run.

use serde_json::{Value, json};

/// What a value is compared with.
#[derive(Clone, Copy, Debug)]
enum Target {
    AtMost(f64),
    AtLeast(f64),
}

/// One measurement, with a value for each repetition.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    name: String,
    unit: &'static str,
    /// Sorted in ascending order.
    values: Vec<f64>,
    target: Option<Target>,
    floors: Vec<(&'static str, f64)>,
}

impl Row {
    /// `values` holds one value for each repetition, at least one.
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        Self { name: name.into(), unit, values, target: None, floors: Vec::new() }
    }

    pub(crate) fn at_most(mut self, limit: f64) -> Self {
        self.target = Some(Target::AtMost(limit));
        self
    }

    pub(crate) fn at_least(mut self, limit: f64) -> Self {
        self.target = Some(Target::AtLeast(limit));
        self
    }

    /// Adds the ratio to a floor, or for rates the share of it, if the floor was measured.
    pub(crate) fn beside(mut self, floor: &'static str, value: Option<f64>) -> Self {
        self.floors.extend(value.map(|value| (floor, value)));
        self
    }

    pub(crate) fn median(&self) -> f64 {
        self.values.get(self.values.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn least(&self) -> f64 {
        self.values.first().copied().unwrap_or(f64::NAN)
    }

    fn most(&self) -> f64 {
        self.values.last().copied().unwrap_or(f64::NAN)
    }

    fn is_met(&self) -> Option<bool> {
        self.target.map(|target| match target {
            Target::AtMost(limit) => self.median() <= limit,
            Target::AtLeast(limit) => self.median() >= limit,
        })
    }

    fn json(&self) -> Value {
        let floors: Vec<Value> = self
            .floors
            .iter()
            .map(|(name, floor)| json!({"floor": name, "value": round(*floor), "ratio": round(self.median() / floor)}))
            .collect();
        let target = self.target.map(|target| match target {
            Target::AtMost(limit) => json!({"at_most": limit}),
            Target::AtLeast(limit) => json!({"at_least": limit}),
        });
        json!({
            "name": self.name, "unit": self.unit, "median": round(self.median()), "least": round(self.least()),
            "most": round(self.most()), "repetitions": self.values.len(), "target": target, "met": self.is_met(),
            "floors": floors,
        })
    }

    fn line(&self) -> String {
        let range = if self.values.len() > 1 {
            format!("{} – {}", figure(self.least()), figure(self.most()))
        } else {
            String::new()
        };
        let target = match self.target {
            Some(Target::AtMost(limit)) => format!("≤ {}", figure(limit)),
            Some(Target::AtLeast(limit)) => format!("≥ {}", figure(limit)),
            None => String::new(),
        };
        let met = match self.is_met() {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        let ratios: Vec<String> =
            self.floors.iter().map(|(name, floor)| format!("{} × {name}", figure(self.median() / floor))).collect();
        let line = format!(
            "{:<58} {:>9} {:<12} {range:<22} {target:>8} {met:<6} {}",
            self.name,
            figure(self.median()),
            self.unit,
            ratios.join(", ")
        );
        line.trim_end().to_owned()
    }
}

/// All measurements of one run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    groups: Vec<(String, Vec<Row>)>,
    notes: Vec<String>,
}

impl Report {
    /// Begins a group; the following rows belong to it.
    pub(crate) fn group(&mut self, name: impl Into<String>) {
        self.groups.push((name.into(), Vec::new()));
    }

    pub(crate) fn row(&mut self, row: Row) {
        note(&row.line());
        match self.groups.last_mut() {
            Some((_, rows)) => rows.push(row),
            None => self.groups.push((String::new(), vec![row])),
        }
    }

    /// Adds a remark without a figure, such as what could not be measured.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        note(&text);
        self.notes.push(text);
    }

    pub(crate) fn json(&self) -> Value {
        let groups = self.groups.iter();
        let groups: Vec<Value> = groups
            .map(|(name, rows)| json!({"name": name, "rows": rows.iter().map(Row::json).collect::<Vec<_>>()}))
            .collect();
        json!({"groups": groups, "notes": self.notes})
    }

    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        for (name, rows) in self.groups.iter().filter(|(_, rows)| !rows.is_empty()) {
            text.push_str(&format!("\n{name}\n"));
            for row in rows {
                text.push_str(&row.line());
                text.push('\n');
            }
        }
        for note in &self.notes {
            text.push_str(&format!("\n{note}"));
        }
        text
    }
}

/// Reports the progress on stderr.
#[expect(clippy::print_stderr, reason = "a run takes minutes")]
fn note(text: &str) {
    eprintln!("{text}");
}

fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// Formats a figure with its significant digits.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => {
            let whole = format!("{value:.0}");
            let (sign, digits) = whole.strip_prefix('-').map_or(("", whole.as_str()), |digits| ("-", digits));
            let grouped: Vec<&str> =
                digits.as_bytes().rchunks(3).rev().filter_map(|part| std::str::from_utf8(part).ok()).collect();
            format!("{sign}{}", grouped.join(","))
        }
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
