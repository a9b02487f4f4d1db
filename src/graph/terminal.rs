//! Draws with box characters: a column for each step, a box for each task. If that is too wide, or lines would cross
//! ambiguously, draws a list by step instead.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use gleitzeit_workflow::graph::Graph;
use gleitzeit_workflow::spec::Workflow;

use super::marks::{self, Marks};
use super::{called, dependencies, steps};
use crate::text::counted;

/// With more tasks than this, a list is drawn instead.
const MAX_BOXES: usize = 40;

/// Draws a workflow for a terminal with this many columns.
pub(crate) fn terminal(workflow: &Workflow, columns: usize, marks: &Marks<'_>) -> String {
    let (graph, steps) = (Graph::new(workflow), steps(workflow));
    let last = steps.iter().copied().max().unwrap_or_default();
    let mut text = format!("{}: {}, {}\n\n", workflow.name, counted(steps.len(), "task"), counted(last, "step"));
    let drawing = if steps.len() <= MAX_BOXES { draw(workflow, &graph, &steps, last, marks) } else { None };
    match drawing.filter(|drawing| drawing.width() <= columns) {
        Some(drawing) => drawing.write(marks, &mut text),
        None => list(workflow, &graph, &steps, last, marks, &mut text),
    }
    if let Some(legend) = marks.legend() {
        let _ = write!(text, "\n{legend}\n");
    }
    text
}

/// A finished drawing.
struct Drawing {
    rows: Vec<Vec<char>>,
    /// The row and the column where each task's box begins, and its width.
    boxes: Vec<(usize, usize, usize)>,
}

impl Drawing {
    fn width(&self) -> usize {
        let used = |row: &Vec<char>| row.iter().rposition(|cell| *cell != ' ').map_or(0, |last| last + 1);
        self.rows.iter().map(used).max().unwrap_or_default()
    }

    /// Writes the rows, each box in the colour of its task.
    fn write(&self, marks: &Marks<'_>, text: &mut String) {
        for (nth, row) in self.rows.iter().enumerate() {
            let mut boxes: Vec<(usize, usize, usize)> = Vec::new();
            for (at, &(top, left, width)) in self.boxes.iter().enumerate() {
                if (top..top + 3).contains(&nth) {
                    boxes.push((left, width, at));
                }
            }
            boxes.sort_unstable();
            let (mut line, mut column) = (String::new(), 0);
            for (left, width, at) in boxes {
                line.extend(&row[column..left]);
                let cells: String = row[left..left + width].iter().collect();
                line.push_str(&marks.paint(marks.of(at), &cells));
                column = left + width;
            }
            line.extend(&row[column..]);
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
}

/// The text in a task's box.
fn label(workflow: &Workflow, at: usize, marks: &Marks<'_>) -> String {
    let id = workflow.tasks[at].id.as_str();
    marks.of(at).map_or_else(|| id.to_owned(), |state| format!("{} {id}", marks::mark(state)))
}

/// Writes a line for each task, by step.
fn list(workflow: &Workflow, graph: &Graph, steps: &[usize], last: usize, marks: &Marks<'_>, text: &mut String) {
    let labels: Vec<String> = (0..steps.len()).map(|at| label(workflow, at, marks)).collect();
    let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or_default();
    let methods = workflow.tasks.iter().map(|task| called(task).chars().count()).max().unwrap_or_default();
    let mut by_step = vec![Vec::new(); last];
    steps.iter().enumerate().for_each(|(at, step)| by_step[step - 1].push(at));
    for (step, tasks) in (1..).zip(by_step) {
        for (nth, at) in tasks.into_iter().enumerate() {
            let task = &workflow.tasks[at];
            let number = if nth == 0 { step.to_string() } else { String::new() };
            let after: Vec<&str> = dependencies(workflow, graph, at).iter().map(|it| it.id.as_str()).collect();
            let after = if after.is_empty() { String::new() } else { format!("after {}", after.join(", ")) };
            let label = marks.paint(marks.of(at), &format!("{:width$}", labels[at]));
            let line = format!("{number:>3}  {label}  {:methods$}  {after}", called(task));
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
}

/// The cells of the drawing: boxes of three rows, and between the columns lanes for the lines.
struct Canvas {
    cells: Vec<Vec<char>>,
}

impl Canvas {
    fn new(rows: usize, columns: usize) -> Self {
        Self { cells: vec![vec![' '; columns]; rows] }
    }

    fn text(&mut self, row: usize, column: usize, text: &str) {
        for (cell, letter) in self.cells[row][column..].iter_mut().zip(text.chars()) {
            *cell = letter;
        }
    }

    /// Draws a task's box; a line leaves it if the task has dependents.
    fn task(&mut self, (row, column, width): (usize, usize, usize), label: &str, has_dependents: bool) {
        let edge = "─".repeat(width - 2);
        let joint = if has_dependents { '├' } else { '│' };
        self.text(row, column, &format!("┌{edge}┐"));
        self.text(row + 1, column, &format!("│ {label} {joint}"));
        self.text(row + 2, column, &format!("└{edge}┘"));
    }

    /// The arrowheads that a reader can reach from a place by following lines right, up or down.
    fn seen(&self, from: (usize, usize)) -> BTreeSet<(usize, usize)> {
        let (mut seen, mut heads, mut left) = (BTreeSet::new(), BTreeSet::new(), vec![from]);
        while let Some((row, column)) = left.pop() {
            let Some(cell) = self.cells.get(row).and_then(|cells| cells.get(column)) else { continue };
            if *cell == HEAD {
                heads.insert((row, column));
                continue;
            }
            let piece = sides(*cell);
            if piece == 0 || !seen.insert((row, column)) {
                continue;
            }
            if piece & usize::from(RIGHT) > 0 {
                left.push((row, column + 1));
            }
            if piece & usize::from(DOWN) > 0 {
                left.push((row + 1, column));
            }
            if piece & usize::from(UP) > 0 {
                left.push((row.wrapping_sub(1), column));
            }
        }
        heads
    }

    /// Adds a piece of line, and joins it with what is there.
    fn line(&mut self, row: usize, column: usize, piece: u8) {
        let cell = &mut self.cells[row][column];
        if *cell == HEAD {
            return;
        }
        *cell = PIECES[sides(*cell) | usize::from(piece)];
    }
}

const HEAD: char = '▶';
const UP: u8 = 1;
const DOWN: u8 = 2;
const LEFT: u8 = 4;
const RIGHT: u8 = 8;
/// Indexed by the sides that a piece connects to.
const PIECES: [char; 16] = [' ', '│', '│', '│', '─', '┘', '┐', '┤', '─', '└', '┌', '├', '─', '┴', '┬', '┼'];

/// The sides that a box character connects to; a straight line connects both ways.
fn sides(letter: char) -> usize {
    PIECES.iter().rposition(|piece| *piece == letter).unwrap_or_default()
}

/// `None` if the drawing would be misleading.
fn draw(workflow: &Workflow, graph: &Graph, steps: &[usize], last: usize, marks: &Marks<'_>) -> Option<Drawing> {
    let labels: Vec<String> = (0..steps.len()).map(|at| label(workflow, at, marks)).collect();
    let layout = Layout::new(graph, steps, last, &labels);
    let mut canvas = Canvas::new(layout.height, layout.width);
    for from in 0..steps.len() {
        for &to in graph.dependents(from) {
            connect(&mut canvas, layout.right_of(from), layout.lanes[from], layout.left_of(to));
        }
    }
    let is_clear = |from: usize| {
        let dependents = graph.dependents(from);
        layout.leads_only_to(&canvas, from, dependents) && !layout.is_any_hidden(steps, from, dependents)
    };
    if !(0..steps.len()).all(is_clear) {
        return None;
    }
    for (at, label) in labels.iter().enumerate() {
        canvas.task(layout.boxes[at], label, !graph.dependents(at).is_empty());
    }
    Some(Drawing { rows: canvas.cells, boxes: layout.boxes })
}

/// Where the box of each task is, and the lane of its lines.
struct Layout {
    /// The row and the column where each task's box begins, and its width.
    boxes: Vec<(usize, usize, usize)>,
    /// The column of each task's lane, for tasks with dependents.
    lanes: Vec<usize>,
    height: usize,
    width: usize,
}

impl Layout {
    /// Gives each step a column, and each task with dependents a lane right of its column.
    fn new(graph: &Graph, steps: &[usize], last: usize, labels: &[String]) -> Self {
        let columns = columns(graph, steps, last);
        let width = |at: usize| labels[at].chars().count() + 4;
        let mut boxes = vec![(0, 0, 0); steps.len()];
        let mut lanes = vec![0; steps.len()];
        let mut edge = 0;
        for column in &columns {
            let widest = column.iter().map(|&at| width(at)).max().unwrap_or_default();
            for (nth, &at) in column.iter().enumerate() {
                boxes[at] = (3 * nth, edge, width(at));
            }
            let with_lane: Vec<usize> = column.iter().copied().filter(|&at| !graph.dependents(at).is_empty()).collect();
            for (nth, &at) in with_lane.iter().enumerate() {
                lanes[at] = edge + widest + 1 + 2 * nth;
            }
            edge += widest + 2 * with_lane.len() + 3;
        }
        let height = 3 * columns.iter().map(Vec::len).max().unwrap_or_default();
        Self { boxes, lanes, height, width: edge.max(1) }
    }

    /// The cell right of a task's box, where its line begins.
    fn right_of(&self, at: usize) -> (usize, usize) {
        let (row, column, width) = self.boxes[at];
        (row + 1, column + width)
    }

    /// The first cell of the middle row of a task's box; lines to it end before this cell.
    fn left_of(&self, at: usize) -> (usize, usize) {
        let (row, column, _) = self.boxes[at];
        (row + 1, column)
    }

    /// Whether a reader who follows a task's line arrives at its dependents and nowhere else.
    fn leads_only_to(&self, canvas: &Canvas, from: usize, dependents: &[usize]) -> bool {
        let head = |&to: &usize| {
            let (row, column) = self.left_of(to);
            (row, column - 1)
        };
        canvas.seen(self.right_of(from)) == dependents.iter().map(head).collect()
    }

    /// Whether a box of a step in between hides the line to one of the dependents.
    fn is_any_hidden(&self, steps: &[usize], from: usize, dependents: &[usize]) -> bool {
        let is_between = |it: usize, to: usize| steps[from] < steps[it] && steps[it] < steps[to];
        let is_hidden =
            |&to: &usize| (0..steps.len()).any(|it| is_between(it, to) && self.boxes[it].0 == self.boxes[to].0);
        dependents.iter().any(is_hidden)
    }
}

/// The tasks of each step from top to bottom, near their dependencies.
fn columns(graph: &Graph, steps: &[usize], last: usize) -> Vec<Vec<usize>> {
    let mut rows = vec![0_usize; steps.len()];
    let mut columns: Vec<Vec<usize>> = Vec::new();
    for step in 1..=last {
        let mut column: Vec<usize> = (0..steps.len()).filter(|at| steps[*at] == step).collect();
        let middle = |at: &usize| {
            let of = graph.dependencies(*at);
            (of.iter().map(|from| rows[*from] * 16).sum::<usize>() / of.len().max(1), *at)
        };
        column.sort_by_key(middle);
        for (nth, &at) in column.iter().enumerate() {
            rows[at] = nth;
        }
        columns.push(column);
    }
    columns
}

/// Draws a line from the right of one box along its lane to the left of another.
fn connect(canvas: &mut Canvas, from: (usize, usize), lane: usize, to: (usize, usize)) {
    for column in from.1..lane {
        canvas.line(from.0, column, LEFT | RIGHT);
    }
    match from.0.cmp(&to.0) {
        std::cmp::Ordering::Equal => canvas.line(from.0, lane, LEFT | RIGHT),
        order => {
            let (away, back) = if order == std::cmp::Ordering::Less { (DOWN, UP) } else { (UP, DOWN) };
            canvas.line(from.0, lane, LEFT | away);
            for row in from.0.min(to.0) + 1..from.0.max(to.0) {
                canvas.line(row, lane, UP | DOWN);
            }
            canvas.line(to.0, lane, back | RIGHT);
        }
    }
    for column in lane + 1..to.1 {
        canvas.line(to.0, column, LEFT | RIGHT);
    }
    canvas.cells[to.0][to.1 - 1] = HEAD;
}

#[cfg(test)]
mod tests {
    use gleitzeit_workflow::spec::{AnyMethod, Limits, check};

    use super::*;

    fn drawn(tasks: &[(&str, &[&str])], columns: usize) -> String {
        let task =
            |(id, after): &(&str, &[&str])| serde_json::json!({"id": id, "method": "m/m", "dependencies": after});
        let text = serde_json::json!({"name": "W", "tasks": tasks.iter().map(task).collect::<Vec<_>>()}).to_string();
        let workflow = check(&text, "w", &AnyMethod, &Limits::DEFAULT).expect("valid");
        terminal(&workflow, columns, &Marks::default())
    }

    #[test]
    fn a_run_is_drawn_with_marks_that_are_explained_and_colours_only_for_terminals() {
        use gleitzeit_sdk::TaskStatus::{Completed, Running, Waiting};
        let text = serde_json::json!({"name": "W", "tasks": [
            {"id": "a", "method": "m/m"}, {"id": "b", "method": "m/m", "dependencies": ["a"]},
            {"id": "c", "method": "m/m", "dependencies": ["b"]}]});
        let workflow = check(&text.to_string(), "w", &AnyMethod, &Limits::DEFAULT).expect("valid");
        let states = [Completed, Running, Waiting];
        let marks = Marks { states: &states, colour: false };
        let plain = terminal(&workflow, 80, &marks);
        assert!(plain.contains("│ ✓ a ├────▶│ ● b ├────▶│ · c │\n"), "{plain}");
        assert!(plain.ends_with("\n· waiting  ● running  ✓ completed\n"), "{plain}");
        let coloured = terminal(&workflow, 80, &Marks { colour: true, ..marks });
        assert!(coloured.contains("\x1b[32m│ ✓ a ├\x1b[0m────▶\x1b[36m│ ● b ├\x1b[0m────▶"), "{coloured}");
        let listed = terminal(&workflow, 10, &marks);
        assert!(listed.contains("  1  ✓ a  m/m\n  2  ● b  m/m  after a\n"), "{listed}");
    }

    #[test]
    fn tasks_stand_in_columns_and_lines_lead_from_one_to_the_next() {
        let tasks: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"])];
        assert_eq!(
            drawn(tasks, 80),
            "W: 4 tasks, 3 steps\n\n\
             ┌───┐     ┌───┐       ┌───┐\n\
             │ a ├─┬──▶│ b ├───┬──▶│ d │\n\
             └───┘ │   └───┘   │   └───┘\n\
             \x20     │   ┌───┐   │\n\
             \x20     └──▶│ c ├───┘\n\
             \x20         └───┘\n"
        );
    }

    #[test]
    fn a_drawing_that_would_be_ambiguous_or_too_wide_becomes_a_list() {
        let crossing: &[(&str, &[&str])] = &[("a", &[]), ("b", &[]), ("c", &["b"]), ("d", &["a"]), ("e", &["a", "b"])];
        let passing: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a"]), ("c", &["a", "b"])];
        for (tasks, columns) in [(crossing, 80), (passing, 80), (passing, 5)] {
            let text = drawn(tasks, columns);
            assert!(!text.contains('┌') && text.contains("after a, b"), "{text}");
        }
    }
}
