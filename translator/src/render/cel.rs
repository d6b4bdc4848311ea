//! Expressions, parsed here: Envoy's match trees take the syntax tree and not the text.

use cel::common::ast::{EntryExpr, Expr, IdedEntryExpr, IdedExpr, LiteralValue};
use cel::parser::Parser;
use xds_api::cel::expr::constant::ConstantKind;
use xds_api::cel::expr::expr::create_struct::{Entry, entry::KeyKind};
use xds_api::cel::expr::expr::{Call, Comprehension, CreateList, CreateStruct, ExprKind, Ident, Select};
use xds_api::cel::expr::{Constant, Expr as EnvoyExpr, ParsedExpr};

/// The syntax tree of an expression, or what is wrong with it.
pub(crate) fn parse(expression: &str) -> Result<ParsedExpr, String> {
    let parsed = Parser::new().parse(expression).map_err(|errors| {
        let text = errors.to_string();
        text.lines().next().unwrap_or("not an expression").to_owned()
    })?;
    if loops(&parsed) {
        return Err(
            "Envoy evaluates no macro that goes through a list or map: all, exists, exists_one, filter, map".to_owned()
        );
    }
    Ok(ParsedExpr { expr: Some(convert(&parsed)), ..ParsedExpr::default() })
}

/// Envoy refuses such an expression, and the whole table with it.
fn loops(expression: &IdedExpr) -> bool {
    let in_entry = |entry: &IdedEntryExpr| match &entry.expr {
        EntryExpr::StructField(field) => loops(&field.value),
        EntryExpr::MapEntry(pair) => loops(&pair.key) || loops(&pair.value),
    };
    match &expression.expr {
        Expr::Comprehension(_) => true,
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => false,
        Expr::Select(select) => loops(&select.operand),
        Expr::Call(call) => call.target.as_deref().is_some_and(loops) || call.args.iter().any(loops),
        Expr::List(list) => list.elements.iter().any(loops),
        Expr::Map(map) => map.entries.iter().any(in_entry),
        Expr::Struct(structure) => structure.entries.iter().any(in_entry),
    }
}

fn boxed(expression: &IdedExpr) -> Option<Box<EnvoyExpr>> {
    Some(Box::new(convert(expression)))
}

fn convert(expression: &IdedExpr) -> EnvoyExpr {
    let kind = match &expression.expr {
        Expr::Unspecified => None,
        Expr::Ident(name) => Some(ExprKind::IdentExpr(Ident { name: name.clone() })),
        Expr::Literal(literal) => Some(ExprKind::ConstExpr(constant(literal))),
        Expr::Select(select) => Some(ExprKind::SelectExpr(Box::new(Select {
            operand: boxed(&select.operand),
            field: select.field.clone(),
            test_only: select.test,
        }))),
        Expr::Call(call) => Some(ExprKind::CallExpr(Box::new(Call {
            target: call.target.as_deref().and_then(boxed),
            function: call.func_name.clone(),
            args: call.args.iter().map(convert).collect(),
        }))),
        Expr::List(list) => Some(ExprKind::ListExpr(CreateList {
            elements: list.elements.iter().map(convert).collect(),
            ..CreateList::default()
        })),
        Expr::Map(map) => Some(ExprKind::StructExpr(CreateStruct {
            message_name: String::new(),
            entries: map.entries.iter().map(entry).collect(),
        })),
        Expr::Struct(structure) => Some(ExprKind::StructExpr(CreateStruct {
            message_name: structure.type_name.clone(),
            entries: structure.entries.iter().map(entry).collect(),
        })),
        Expr::Comprehension(all) => Some(ExprKind::ComprehensionExpr(Box::new(Comprehension {
            iter_var: all.iter_var.clone(),
            iter_var2: all.iter_var2.clone().unwrap_or_default(),
            iter_range: boxed(&all.iter_range),
            accu_var: all.accu_var.clone(),
            accu_init: boxed(&all.accu_init),
            loop_condition: boxed(&all.loop_cond),
            loop_step: boxed(&all.loop_step),
            result: boxed(&all.result),
        }))),
    };
    EnvoyExpr { id: number(expression.id), expr_kind: kind }
}

fn entry(entry: &IdedEntryExpr) -> Entry {
    let (key, value) = match &entry.expr {
        EntryExpr::StructField(field) => (KeyKind::FieldKey(field.field.clone()), &field.value),
        EntryExpr::MapEntry(pair) => (KeyKind::MapKey(convert(&pair.key)), &pair.value),
    };
    Entry { id: number(entry.id), key_kind: Some(key), value: Some(convert(value)), ..Entry::default() }
}

fn number(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

fn constant(literal: &LiteralValue) -> Constant {
    let kind = match literal {
        LiteralValue::Boolean(value) => ConstantKind::BoolValue(*value.inner()),
        LiteralValue::Bytes(value) => ConstantKind::BytesValue(value.inner().to_vec()),
        LiteralValue::Double(value) => ConstantKind::DoubleValue(*value.inner()),
        LiteralValue::Int(value) => ConstantKind::Int64Value(*value.inner()),
        LiteralValue::Null => ConstantKind::NullValue(0),
        LiteralValue::String(value) => ConstantKind::StringValue(value.inner().to_owned()),
        LiteralValue::UInt(value) => ConstantKind::Uint64Value(*value.inner()),
    };
    Constant { constant_kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn expressions() {
        assert!(parse("request.headers['x'] == '7' && has(request.headers.y)").is_ok());
        assert!(parse("request.path != '' && [1, 2].exists(n, n > 1)").is_err());
        assert!(parse("request.headers[").is_err());
    }
}
