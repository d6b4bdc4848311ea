//! The resource graph as SVG: who refers stands left of what is referred to.
//!
//! Each object stands in the column of its longest chain of references, and in its column near the objects it is
//! connected with.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use kinds::ObjectId;
use translator::{Graph, Target, Verdict};

const BOX: (usize, usize) = (230, 40);
const GAP: (usize, usize) = (140, 16);
/// The height of a line's words.
const WORDS: usize = 11;
const MARGIN: usize = 20;
/// More sweeps over the columns do not change what is seen.
const SWEEPS: usize = 8;

struct Line {
    from: usize,
    to: usize,
    words: String,
    fails: bool,
}

struct Picture {
    nodes: Vec<(ObjectId, bool)>,
    lines: Vec<Line>,
}

/// The whole graph, or what is connected with one object, given as `KIND/NAMESPACE/NAME`. None when it is not there.
pub(crate) fn to_svg(graph: &Graph, focus: Option<&str>) -> Option<String> {
    let mut picture = Picture::of(graph);
    if let Some(focus) = focus {
        picture.keep_connected(focus)?;
    }
    Some(picture.draw())
}

impl Picture {
    fn of(graph: &Graph) -> Self {
        let nodes: Vec<(ObjectId, bool)> =
            graph.nodes().into_iter().map(|node| (node.id.clone(), node.present())).collect();
        let index: BTreeMap<&ObjectId, usize> = nodes.iter().enumerate().map(|(at, (id, _))| (id, at)).collect();
        let lines = graph.edges().into_iter().filter_map(|(source, edge)| {
            let Target::Object(target) = &edge.target else { return None };
            let fails = edge.verdict != Verdict::Allowed;
            let words = if fails {
                format!("{}: {}", edge.role.name(), edge.verdict.words())
            } else {
                edge.role.name().to_owned()
            };
            Some(Line { from: *index.get(source)?, to: *index.get(target)?, words, fails })
        });
        let lines = lines.collect();
        Self { nodes, lines }
    }

    /// What the object leads to, and what leads to it.
    fn keep_connected(&mut self, focus: &str) -> Option<()> {
        let named = |id: &ObjectId| format!("{}/{}/{}", id.kind, id.namespace, id.name).eq_ignore_ascii_case(focus);
        let start = self.nodes.iter().position(|(id, _)| named(id))?;
        let mut kept = BTreeSet::new();
        for forward in [true, false] {
            let mut pending = vec![start];
            let mut seen = BTreeSet::new();
            while let Some(at) = pending.pop() {
                if seen.insert(at) {
                    let ends =
                        self.lines.iter().map(|line| if forward { (line.from, line.to) } else { (line.to, line.from) });
                    pending.extend(ends.filter(|(from, _)| *from == at).map(|(_, to)| to));
                }
            }
            kept.append(&mut seen);
        }
        let place: BTreeMap<usize, usize> = kept.iter().enumerate().map(|(new, old)| (*old, new)).collect();
        let mut at = 0;
        self.nodes.retain(|_| {
            at += 1;
            kept.contains(&(at - 1))
        });
        let lines = std::mem::take(&mut self.lines).into_iter();
        self.lines = lines
            .filter_map(|line| Some(Line { from: *place.get(&line.from)?, to: *place.get(&line.to)?, ..line }))
            .collect();
        Some(())
    }

    /// The column of each object. References in a circle stop counting after as many steps as there are objects.
    fn columns(&self) -> Vec<Vec<usize>> {
        let mut depth = vec![0; self.nodes.len()];
        for _ in 0..self.nodes.len().min(32) {
            let mut moved = false;
            for line in self.lines.iter().filter(|line| line.from != line.to) {
                if depth[line.to] <= depth[line.from] && depth[line.from] < 32 {
                    depth[line.to] = depth[line.from] + 1;
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
        let mut columns: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, depth) in depth.into_iter().enumerate() {
            columns.entry(depth).or_default().push(at);
        }
        let mut columns: Vec<Vec<usize>> = columns.into_values().collect();
        for sweep in 0..SWEEPS {
            self.sweep(&mut columns, sweep % 2 == 0);
        }
        columns
    }

    /// Sorts each column by the mean height of the neighbours on one side.
    fn sweep(&self, columns: &mut [Vec<usize>], forward: bool) {
        let mut height = vec![0.0; self.nodes.len()];
        for column in columns.iter() {
            for (row, at) in column.iter().enumerate() {
                height[*at] = (row as f64 + 0.5) / column.len() as f64;
            }
        }
        for column in columns {
            let mean = |at: usize| {
                let ends =
                    self.lines.iter().map(|line| if forward { (line.to, line.from) } else { (line.from, line.to) });
                let near: Vec<f64> = ends.filter(|(end, _)| *end == at).map(|(_, other)| height[other]).collect();
                if near.is_empty() { height[at] } else { near.iter().sum::<f64>() / near.len() as f64 }
            };
            let mut keyed: Vec<(f64, usize)> = column.iter().map(|at| (mean(*at), *at)).collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            *column = keyed.into_iter().map(|(_, at)| at).collect();
        }
    }

    fn draw(&self) -> String {
        let columns = self.columns();
        let tallest = columns.iter().map(Vec::len).max().unwrap_or(0);
        let (step_x, step_y) = (BOX.0 + GAP.0, BOX.1 + GAP.1);
        let width = 2 * MARGIN + columns.len() * step_x;
        let height = 2 * MARGIN + tallest * step_y;
        let mut corner = vec![(0, 0); self.nodes.len()];
        for (x, column) in columns.iter().enumerate() {
            let above = (tallest - column.len()) * step_y / 2;
            for (y, at) in column.iter().enumerate() {
                corner[*at] = (MARGIN + x * step_x, MARGIN + above + y * step_y);
            }
        }
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        // Several references of an object fail in the same words: they stand there once, and others below them.
        let mut said: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for line in &self.lines {
            let (from, to) = (corner[line.from], corner[line.to]);
            let (x1, y1) = (from.0 + BOX.0, from.1 + BOX.1 / 2);
            let (x2, y2) = (to.0, to.1 + BOX.1 / 2);
            let color = if line.fails { "#c0392b" } else { "#7f8c8d" };
            let (c1, c2) = (x1 + GAP.0 / 2, x2.saturating_sub(GAP.0 / 2));
            let words = escaped(&line.words);
            let _ = writeln!(
                svg,
                "<path d=\"M{x1},{y1} C{c1},{y1} {c2},{y2} {x2},{y2}\" fill=\"none\" stroke=\"{color}\"><title>{words}</title></path>"
            );
            let said = said.entry(line.from).or_default();
            if line.fails && !said.contains(&line.words.as_str()) {
                let (x, y) = (x1 + 4, y1 - 3 + said.len() * (WORDS + 3));
                let _ =
                    writeln!(svg, "<text x=\"{x}\" y=\"{y}\" fill=\"{color}\" font-size=\"{WORDS}\">{words}</text>");
                said.push(&line.words);
            }
        }
        for ((id, present), (x, y)) in self.nodes.iter().zip(corner) {
            let style = if *present {
                "fill=\"#eef4fb\" stroke=\"#34495e\""
            } else {
                "fill=\"#fdecea\" stroke=\"#c0392b\" stroke-dasharray=\"4\""
            };
            let name =
                if id.namespace.is_empty() { id.name.to_string() } else { format!("{}/{}", id.namespace, id.name) };
            let name = escaped(&shortened(&name));
            let full = escaped(&id.to_string());
            let (w, h) = BOX;
            let _ = writeln!(
                svg,
                "<g><title>{full}</title><rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" rx=\"4\" {style}/><text x=\"{tx}\" y=\"{y1}\" font-weight=\"bold\">{kind}</text><text x=\"{tx}\" y=\"{y2}\">{name}</text></g>",
                tx = x + 8,
                y1 = y + 16,
                y2 = y + 32,
                kind = escaped(&id.kind.to_string()),
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// What fits into a box; the whole name is in its title.
fn shortened(name: &str) -> String {
    const FITS: usize = 32;
    if name.chars().count() <= FITS {
        return name.to_owned();
    }
    name.chars().take(FITS - 1).chain(['…']).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
