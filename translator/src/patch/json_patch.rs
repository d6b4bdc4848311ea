//! One operation of a JSON patch.

use kinds::envoy_gateway::{JsonPatchOperation, PatchOp};
use serde_json::Value;

/// Carries an operation out; the message says at which step of the pointer it stopped.
pub(super) fn apply(root: &mut Value, operation: &JsonPatchOperation, pointer: &str) -> Result<(), String> {
    let value = || operation.value.clone().ok_or_else(|| "the operation needs a value".to_owned());
    let from = || operation.from.as_deref().ok_or_else(|| "the operation needs `from`".to_owned());
    match operation.op {
        PatchOp::Add => add(root, pointer, value()?),
        PatchOp::Remove => remove(root, pointer).map(|_| ()),
        PatchOp::Replace => {
            let place = at(root, pointer)?;
            *place = value()?;
            Ok(())
        }
        PatchOp::Move => {
            let moved = remove(root, from()?)?;
            add(root, pointer, moved)
        }
        PatchOp::Copy => {
            let copied = at(root, from()?)?.clone();
            add(root, pointer, copied)
        }
        PatchOp::Test => {
            if *at(root, pointer)? == value()? {
                Ok(())
            } else {
                Err(format!("the test at {pointer} does not hold"))
            }
        }
    }
}

fn steps(pointer: &str) -> Result<Vec<String>, String> {
    if pointer.is_empty() {
        return Ok(Vec::new());
    }
    let rest = pointer.strip_prefix('/').ok_or_else(|| format!("{pointer} does not start with a slash"))?;
    Ok(rest.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect())
}

fn at<'v>(root: &'v mut Value, pointer: &str) -> Result<&'v mut Value, String> {
    let steps = steps(pointer)?;
    descend(root, &steps, pointer)
}

fn descend<'v>(root: &'v mut Value, steps: &[String], pointer: &str) -> Result<&'v mut Value, String> {
    let mut place = root;
    for step in steps {
        let next = match place {
            Value::Object(fields) => fields.get_mut(step),
            Value::Array(items) => step.parse::<usize>().ok().and_then(|index| items.get_mut(index)),
            _ => None,
        };
        place = next.ok_or_else(|| format!("{pointer} stops at `{step}`, which is not there"))?;
    }
    Ok(place)
}

fn add(root: &mut Value, pointer: &str, value: Value) -> Result<(), String> {
    let steps = steps(pointer)?;
    let Some((last, before)) = steps.split_last() else {
        *root = value;
        return Ok(());
    };
    match descend(root, before, pointer)? {
        Value::Object(fields) => {
            fields.insert(last.clone(), value);
            Ok(())
        }
        Value::Array(items) => {
            let index = if last == "-" { Some(items.len()) } else { last.parse().ok() };
            match index.filter(|index| *index <= items.len()) {
                Some(index) => {
                    items.insert(index, value);
                    Ok(())
                }
                None => Err(format!("{pointer} stops at `{last}`: the list has {} items", items.len())),
            }
        }
        _ => Err(format!("{pointer} stops at `{last}`: there is neither an object nor a list to add to")),
    }
}

fn remove(root: &mut Value, pointer: &str) -> Result<Value, String> {
    let steps = steps(pointer)?;
    let Some((last, before)) = steps.split_last() else { return Err("a whole resource cannot be removed".to_owned()) };
    let found = match descend(root, before, pointer)? {
        Value::Object(fields) => fields.remove(last),
        Value::Array(items) => {
            let index = last.parse::<usize>().ok().filter(|index| *index < items.len());
            index.map(|index| items.remove(index))
        }
        _ => None,
    };
    found.ok_or_else(|| format!("{pointer} stops at `{last}`, which is not there"))
}
