//! The graph as text: DOT, for whatever draws it.

use std::fmt::Write;

use super::{Graph, Target, Verdict};

impl Graph {
    /// The graph in the DOT language. References that fail are red, missing objects dashed.
    #[must_use]
    pub fn to_dot(&self) -> String {
        let mut dot = String::from("digraph chancery {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n");
        for node in self.nodes() {
            let style = if node.present() { "" } else { ", style=dashed, color=red" };
            let id = &node.id;
            let label = format!("{}\\n{}/{}", id.kind, id.namespace, id.name);
            let _ = writeln!(dot, "  \"{id}\" [label=\"{label}\"{style}];");
        }
        for (source, edge) in self.edges() {
            let color = if edge.verdict == Verdict::Allowed { "black" } else { "red" };
            if let Target::Unsupported { .. } = edge.target {
                let _ = writeln!(dot, "  \"{}\" [style=dashed, color=red];", edge.target);
            }
            let label = match edge.verdict {
                Verdict::Allowed => edge.role.name().to_owned(),
                verdict => format!("{}: {}", edge.role.name(), verdict.words()),
            };
            let _ = writeln!(dot, "  \"{source}\" -> \"{}\" [label=\"{label}\", color={color}];", edge.target);
        }
        dot.push_str("}\n");
        dot
    }
}

impl Verdict {
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::NotPermitted => "not permitted",
            Self::NotFound => "not found",
            Self::NotSupported => "not supported",
        }
    }
}
