//! A file's text cut into documents, before any of them is parsed, so that a broken one costs only itself.
//!
//! Besides `---` and `...`, the lines of a shell wrapper (`kubectl apply -f - <<EOF` … `EOF`) end a document, since
//! published guides are pasted with them.

use std::sync::Arc;

use crate::Origin;

/// The documents of a file that hold anything but comments and white space.
pub fn split(file: &Arc<str>, text: &Arc<str>) -> Vec<Origin> {
    let mut documents = Vec::new();
    let mut open = Open { start: 0, line: 1, blank: true };
    let mut heredoc: Option<&str> = None;
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let content = line.trim_end();
        let after = offset + line.len();
        let wrapper = match heredoc {
            Some(end) if content.trim() == end => {
                heredoc = None;
                true
            }
            Some(_) => false,
            None => {
                heredoc = heredoc_end(content);
                heredoc.is_some()
            }
        };
        if wrapper || is_marker(content) {
            open.close(offset, file, text, &mut documents);
            // `--- {a: b}` is allowed by YAML: what follows the marker belongs to the next document.
            let inline = content.strip_prefix("---").is_some_and(|rest| !rest.trim().is_empty() && !wrapper);
            let start = if inline { offset + 3 } else { after };
            open = Open { start, line: if inline { index + 1 } else { index + 2 }, blank: !inline };
        } else if !(content.trim_start().is_empty()
            || content.trim_start().starts_with('#')
            || content.starts_with('%'))
        {
            open.blank = false;
        }
        offset = after;
    }
    open.close(text.len(), file, text, &mut documents);
    documents
}

struct Open {
    start: usize,
    line: usize,
    blank: bool,
}

impl Open {
    fn close(&self, end: usize, file: &Arc<str>, text: &Arc<str>, documents: &mut Vec<Origin>) {
        if !self.blank {
            documents.push(Origin::in_file(file.clone(), text.clone(), self.start..end, self.line));
        }
    }
}

fn is_marker(line: &str) -> bool {
    let marked =
        |marker: &str| line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
    marked("---") || marked("...")
}

/// The word that ends the here-document which a shell line opens.
fn heredoc_end(line: &str) -> Option<&str> {
    let command = line.trim_start().trim_start_matches("$ ");
    if !(command.starts_with("kubectl ") || command.starts_with("cat ")) {
        return None;
    }
    let (_, word) = command.split_once("<<")?;
    let word = word.trim_start_matches('-').trim().split([' ', '|', '>']).next()?;
    let word = word.trim_matches(['"', '\'']);
    (!word.is_empty()).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(usize, String)> {
        let documents = split(&Arc::from("f.yaml"), &Arc::from(text));
        documents.iter().map(|d| (d.start().line, d.text().trim().to_owned())).collect()
    }

    #[test]
    fn markers_comments_and_inline_content() {
        let found = texts("# only a comment\n---\na: 1\n---\n\n--- {b: 2}\n...\nc: 3\n");
        assert_eq!(found, [(3, "a: 1".into()), (6, "{b: 2}".into()), (8, "c: 3".into())]);
    }

    #[test]
    fn a_shell_wrapper_is_not_part_of_any_document() {
        let found = texts("a: 1\n---\nkubectl apply -f - <<EOF\nb: 2\n---\nc: 3\nEOF\n---\nd: 4\n");
        assert_eq!(found, [(1, "a: 1".into()), (4, "b: 2".into()), (6, "c: 3".into()), (9, "d: 4".into())]);
    }
}
