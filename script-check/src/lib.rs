//! The scripts that read and edit bodies, run beside `serde_json` on bodies that nobody wrote by hand.
//!
//! They must agree: on the model that a body names, on whether it is refused, and on what an edit makes of it. Envoy's
//! interpreter is LuaJIT, and so is this one.

use anyhow::ensure;
use mlua::{Function, Lua};
use serde_json::{Map, Value, json};
use testkit::bodies::{READ, Random, Verdict, body, verdict, without_strings};

const ENVOY: &str = include_str!("envoy.lua");
const SCAN: &str = include_str!("../../translator/src/ai/lua/scan.lua");
const FORM: &str = include_str!("../../translator/src/ai/lua/form.lua");
const MODEL: &str = include_str!("../../translator/src/ai/lua/model.lua");
const USAGE: &str = include_str!("../../translator/src/ai/lua/usage.lua");
const UPSTREAM: &str = include_str!("../../translator/src/ai/lua/upstream.lua");

/// What a client is sent of a stream that comes in pieces, where it asked for no usage.
const PIECES: &str = "
function passed(pieces)
  local all, held = {}, nil
  for _, piece in ipairs(pieces) do
    local sent
    sent, held = passed_on(held, piece)
    all[#all + 1] = sent
  end
  return table.concat(all)
end";

/// Edits as a route orders them: another model, a field set, and a field removed.
const EDITS: &str = "0&m=other&br=user&bs.n=7";

/// How many bodies became what.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub models: u64,
    pub nameless: u64,
    pub refused: u64,
    /// Refused by `serde_json` for what is inside a string that nobody reads.
    pub lenient: u64,
    /// With numbers that `serde_json` does not hold.
    pub skipped: u64,
    pub edited: u64,
}

pub struct Scripts {
    model: Lua,
    upstream: Lua,
    usage: Lua,
}

impl Scripts {
    pub fn load() -> anyhow::Result<Self> {
        let load = |script: &str| -> anyhow::Result<Lua> {
            let lua = Lua::new();
            lua.load(format!("{SCAN}\n{FORM}\n{script}\n{ENVOY}")).exec()?;
            Ok(lua)
        };
        Ok(Self { model: load(MODEL)?, upstream: load(UPSTREAM)?, usage: load(&format!("{USAGE}\n{PIECES}"))? })
    }

    /// What the gateway makes of a body.
    pub fn verdict(&self, body: &[u8]) -> anyhow::Result<Verdict> {
        self.verdict_as(body, "application/json")
    }

    /// What the gateway makes of a body of a type.
    pub fn verdict_as(&self, body: &[u8], content_type: &str) -> anyhow::Result<Verdict> {
        let (refused, model) = call(&self.model, "model_of", (self.model.create_string(body)?, content_type))?;
        Ok(match (refused, model) {
            (Some(status), _) => {
                ensure!(status == b"400", "refused with {}", String::from_utf8_lossy(&status));
                Verdict::Refused
            }
            (None, Some(model)) => Verdict::Model(String::from_utf8(model)?),
            (None, None) => Verdict::Nameless,
        })
    }

    /// The body as a server gets it; none when it is refused.
    pub fn edited(&self, body: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
        let (refused, made) = call(&self.upstream, "edited_by", (EDITS, self.upstream.create_string(body)?))?;
        Ok(if refused.is_some() { None } else { made })
    }

    /// What a client that asked for no usage is sent of a stream.
    pub fn passed(&self, pieces: &[&str]) -> anyhow::Result<String> {
        let passed: Function = self.usage.globals().get("passed")?;
        passed.call(pieces.to_vec()).map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// Bodies of so many seeds.
    ///
    /// # Errors
    /// With the first body about which they disagree.
    pub fn compare(&self, seeds: std::ops::Range<u64>) -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        for seed in seeds {
            let body = body(&mut Random::new(seed));
            self.one(&body, &mut tally)
                .map_err(|error| error.context(format!("seed {seed}: {:?}", String::from_utf8_lossy(&body))))?;
        }
        Ok(tally)
    }

    fn one(&self, body: &[u8], tally: &mut Tally) -> anyhow::Result<()> {
        let ours = self.verdict(body)?;
        let (Some(strict), Some(theirs)) = (verdict(body), verdict(&without_strings(body))) else {
            tally.skipped += 1;
            return Ok(());
        };
        ensure!(ours == theirs, "{ours:?}, and {theirs:?} by serde_json");
        ensure!(strict == theirs || strict == Verdict::Refused, "{theirs:?}, and {strict:?} with its strings");
        match &ours {
            _ if strict != theirs => tally.lenient += 1,
            Verdict::Model(_) => tally.models += 1,
            Verdict::Nameless => tally.nameless += 1,
            Verdict::Refused => tally.refused += 1,
        }
        if strict != Verdict::Refused {
            self.edit(body)?;
            tally.edited += 1;
        }
        Ok(())
    }

    /// What the edits make of a good body is what they would make of its fields.
    fn edit(&self, body: &[u8]) -> anyhow::Result<()> {
        let made = self.edited(body)?;
        let mut fields: Map<String, Value> = serde_json::from_slice(body)?;
        let Some(made) = made else {
            // Nobody but a client with something to hide writes `user` twice or with escapes.
            let text = String::from_utf8_lossy(body);
            ensure!(text.contains("\\u") || text.matches("\"user\"").count() > 1, "refused without need");
            return Ok(());
        };
        fields.remove("user");
        fields.insert("model".to_owned(), json!("other"));
        fields.insert("n".to_owned(), json!(7));
        let seen: Map<String, Value> = serde_json::from_slice(&made)
            .map_err(|error| anyhow::anyhow!("{error}: {:?}", String::from_utf8_lossy(&made)))?;
        ensure!(seen == fields, "{:?}", String::from_utf8_lossy(&made));
        let again = verdict(&made);
        ensure!(again == Some(Verdict::Model("other".to_owned())), "{again:?}: {READ:?}");
        Ok(())
    }
}

type Pair = (Option<Vec<u8>>, Option<Vec<u8>>);

fn call(lua: &Lua, name: &str, arguments: impl mlua::IntoLuaMulti) -> anyhow::Result<Pair> {
    let function: Function = lua.globals().get(name)?;
    let (first, second): (Option<mlua::LuaString>, Option<mlua::LuaString>) = function.call(arguments)?;
    let bytes = |text: mlua::LuaString| text.as_bytes().to_vec();
    Ok((first.map(bytes), second.map(bytes)))
}
