//! Where in a message one stands: a chain on the stack, written out only when something is wrong there.

use std::fmt::Write as _;

#[derive(Clone, Copy)]
pub(crate) enum Step<'a> {
    Root,
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

#[derive(Clone, Copy)]
pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
    depth: u32,
}

impl<'a> Path<'a> {
    pub(crate) const ROOT: Path<'static> = Path { parent: None, step: Step::Root, depth: 0 };

    pub(crate) fn join(&'a self, step: Step<'a>) -> Path<'a> {
        Path { parent: Some(self), step, depth: self.depth + 1 }
    }

    /// Deeper than any real configuration: what is nested like this was made to exhaust the stack.
    pub(crate) fn too_deep(&self) -> bool {
        self.depth > 300
    }

    pub(crate) fn text(&self) -> String {
        let mut steps: Vec<Step<'_>> = std::iter::successors(Some(self), |path| path.parent).map(|p| p.step).collect();
        steps.reverse();
        let mut text = String::new();
        for step in steps {
            // Writing to a string cannot fail.
            let _ = match step {
                Step::Root => Ok(()),
                Step::Field(name) if text.is_empty() => write!(text, "{name}"),
                Step::Field(name) => write!(text, ".{name}"),
                Step::Index(index) => write!(text, "[{index}]"),
                Step::Key(key) => write!(text, "[{key:?}]"),
            };
        }
        text
    }
}
