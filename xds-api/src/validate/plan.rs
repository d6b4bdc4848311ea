//! The field rules of every message, read once from the options in the descriptors into tables that bytes can be
//! walked with. A field without a rule that leads to no rule has no row.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value,
};

use super::rules::Check;
use crate::generated::validate::{FieldRules, field_rules};
use crate::pool;

pub(super) struct Plans {
    messages: Vec<MessagePlan>,
    by_name: BTreeMap<String, usize>,
}

pub(super) struct MessagePlan {
    pub(super) name: String,
    /// By number.
    pub(super) fields: Vec<FieldPlan>,
    pub(super) required_oneofs: Vec<OneofPlan>,
}

/// A `oneof` of which one field has to be set, by the numbers of its fields.
pub(super) struct OneofPlan {
    pub(super) name: String,
    pub(super) numbers: Vec<u32>,
}

pub(super) struct FieldPlan {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) label: Label,
    pub(super) value: ValuePlan,
    pub(super) absent: Absent,
}

pub(super) enum Label {
    Single,
    List { min: u64, max: u64, unique: bool, ignore_empty: bool },
    Map { key: Box<ValuePlan>, min: u64, max: u64, ignore_empty: bool },
}

/// What it means that the field is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    Allowed,
    Refused,
    /// A field without presence: absence is its default value, to which the rule applies.
    IsDefault,
}

pub(super) struct ValuePlan {
    pub(super) wire: Wire,
    pub(super) check: Option<Check>,
    pub(super) inside: Inside,
}

/// What stands inside a message field.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Inside {
    Nothing,
    Message(usize),
    Any,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Bool,
    Signed,
    Unsigned,
    ZigZag,
    Fixed32,
    SignedFixed32,
    Float,
    Fixed64,
    SignedFixed64,
    Double,
    Text,
    Bytes,
    Message,
}

impl Wire {
    pub(super) fn of(kind: &Kind) -> Self {
        match kind {
            Kind::Bool => Self::Bool,
            Kind::Int32 | Kind::Int64 | Kind::Enum(_) => Self::Signed,
            Kind::Uint32 | Kind::Uint64 => Self::Unsigned,
            Kind::Sint32 | Kind::Sint64 => Self::ZigZag,
            Kind::Fixed32 => Self::Fixed32,
            Kind::Sfixed32 => Self::SignedFixed32,
            Kind::Float => Self::Float,
            Kind::Fixed64 => Self::Fixed64,
            Kind::Sfixed64 => Self::SignedFixed64,
            Kind::Double => Self::Double,
            Kind::String => Self::Text,
            Kind::Bytes => Self::Bytes,
            Kind::Message(_) => Self::Message,
        }
    }
}

impl Plans {
    pub(super) fn shared() -> &'static Self {
        static PLANS: LazyLock<Plans> = LazyLock::new(|| Plans::read(pool()));
        &PLANS
    }

    pub(super) fn get(&self, index: usize) -> Option<&MessagePlan> {
        self.messages.get(index)
    }

    pub(super) fn named(&self, name: &str) -> Option<&MessagePlan> {
        self.by_name.get(name).and_then(|index| self.messages.get(*index))
    }

    fn read(pool: &DescriptorPool) -> Self {
        let by_name: BTreeMap<String, usize> =
            pool.all_messages().enumerate().map(|(index, message)| (message.full_name().to_owned(), index)).collect();
        let options = Options::of(pool);
        let mut messages: Vec<MessagePlan> =
            pool.all_messages().map(|message| message_plan(&message, &options, &by_name)).collect();
        prune(&mut messages);
        Self { messages, by_name }
    }
}

/// Takes out the fields that lead to no rule, until nothing more can be taken out.
fn prune(messages: &mut [MessagePlan]) {
    let mut matters = vec![false; messages.len()];
    loop {
        let mut changed = false;
        for (index, message) in messages.iter().enumerate() {
            let now = !message.required_oneofs.is_empty() || message.fields.iter().any(|field| field.matters(&matters));
            if let Some(before) = matters.get_mut(index).filter(|before| **before != now) {
                *before = now;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    for message in messages {
        let MessagePlan { fields, required_oneofs, .. } = message;
        fields.retain(|field| {
            field.matters(&matters) || required_oneofs.iter().any(|oneof| oneof.numbers.contains(&field.number))
        });
    }
}

impl FieldPlan {
    fn matters(&self, messages: &[bool]) -> bool {
        let inside = |value: &ValuePlan| match value.inside {
            Inside::Any => true,
            Inside::Message(index) => messages.get(index).copied().unwrap_or(false),
            Inside::Nothing => false,
        };
        let label = match &self.label {
            Label::Single => false,
            Label::List { min, max, unique, .. } => *min > 0 || *max < u64::MAX || *unique,
            Label::Map { key, min, max, .. } => *min > 0 || *max < u64::MAX || key.check.is_some(),
        };
        label || self.value.check.is_some() || self.absent == Absent::Refused || inside(&self.value)
    }
}

/// The extensions that carry rules.
struct Options {
    rules: Option<ExtensionDescriptor>,
    message_off: Vec<ExtensionDescriptor>,
    oneof_required: Option<ExtensionDescriptor>,
}

impl Options {
    fn of(pool: &DescriptorPool) -> Self {
        Self {
            rules: pool.get_extension_by_name("validate.rules"),
            message_off: ["validate.disabled", "validate.ignored"]
                .into_iter()
                .filter_map(|name| pool.get_extension_by_name(name))
                .collect(),
            oneof_required: pool.get_extension_by_name("validate.required"),
        }
    }

    fn rules(&self, field: &FieldDescriptor) -> Option<FieldRules> {
        let extension = self.rules.as_ref()?;
        let options = field.options();
        if !options.has_extension(extension) {
            return None;
        }
        options.get_extension(extension).as_message().and_then(|rules| rules.transcode_to().ok())
    }
}

fn is_set(options: &DynamicMessage, extension: &ExtensionDescriptor) -> bool {
    options.has_extension(extension) && matches!(&*options.get_extension(extension), Value::Bool(true))
}

fn message_plan(message: &MessageDescriptor, options: &Options, by_name: &BTreeMap<String, usize>) -> MessagePlan {
    let mut plan =
        MessagePlan { name: message.full_name().to_owned(), fields: Vec::new(), required_oneofs: Vec::new() };
    let own = message.options();
    // An Any's fields are its own business: what it holds is looked at where it stands.
    if options.message_off.iter().any(|off| is_set(&own, off)) || plan.name == "google.protobuf.Any" {
        return plan;
    }
    plan.fields = message.fields().map(|field| field_plan(&field, options.rules(&field), by_name)).collect();
    plan.fields.sort_by_key(|field| field.number);
    for oneof in message.oneofs() {
        if options.oneof_required.as_ref().is_some_and(|required| is_set(&oneof.options(), required)) {
            let numbers = oneof.fields().map(|field| field.number()).collect();
            plan.required_oneofs.push(OneofPlan { name: oneof.name().to_owned(), numbers });
        }
    }
    plan
}

fn field_plan(field: &FieldDescriptor, rules: Option<FieldRules>, by_name: &BTreeMap<String, usize>) -> FieldPlan {
    let rules = rules.unwrap_or_default();
    let (number, name) = (field.number(), field.name().to_owned());
    if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
        let map = match rules.r#type {
            Some(field_rules::Type::Map(map)) => *map,
            _ => Default::default(),
        };
        let key = value_plan(&entry.map_entry_key_field().kind(), map.keys.as_deref(), by_name);
        let label = Label::Map {
            key: Box::new(key),
            min: map.min_pairs.unwrap_or(0),
            max: map.max_pairs.unwrap_or(u64::MAX),
            ignore_empty: map.ignore_empty(),
        };
        let value = value_plan(&entry.map_entry_value_field().kind(), map.values.as_deref(), by_name);
        return FieldPlan { number, name, label, value, absent: Absent::Allowed };
    }
    if field.is_list() {
        let list = match rules.r#type {
            Some(field_rules::Type::Repeated(list)) => *list,
            _ => Default::default(),
        };
        let label = Label::List {
            min: list.min_items.unwrap_or(0),
            max: list.max_items.unwrap_or(u64::MAX),
            unique: list.unique(),
            ignore_empty: list.ignore_empty(),
        };
        let value = value_plan(&field.kind(), list.items.as_deref(), by_name);
        return FieldPlan { number, name, label, value, absent: Absent::Allowed };
    }
    let required = rules.message.is_some_and(|message| message.required())
        || match &rules.r#type {
            Some(field_rules::Type::Any(any)) => any.required(),
            Some(field_rules::Type::Duration(duration)) => duration.required(),
            Some(field_rules::Type::Timestamp(timestamp)) => timestamp.required(),
            _ => false,
        };
    let absent = match (field.containing_oneof(), required) {
        // In a `oneof` another field may have been chosen.
        (Some(_), _) => Absent::Allowed,
        (None, true) => Absent::Refused,
        (None, false) if field.supports_presence() => Absent::Allowed,
        (None, false) => Absent::IsDefault,
    };
    FieldPlan { number, name, label: Label::Single, value: value_plan(&field.kind(), Some(&rules), by_name), absent }
}

fn value_plan(kind: &Kind, rules: Option<&FieldRules>, by_name: &BTreeMap<String, usize>) -> ValuePlan {
    let skip = rules.and_then(|rules| rules.message).is_some_and(|message| message.skip());
    let inside = match kind {
        Kind::Message(message) if message.full_name() == "google.protobuf.Any" => Inside::Any,
        Kind::Message(message) if !skip => {
            by_name.get(message.full_name()).map_or(Inside::Nothing, |index| Inside::Message(*index))
        }
        _ => Inside::Nothing,
    };
    let check = rules.and_then(|rules| rules.r#type.as_ref()).and_then(|rules| Check::new(rules, kind));
    ValuePlan { wire: Wire::of(kind), check, inside }
}
