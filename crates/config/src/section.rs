//! A table of the settings file that is read key by key, so that a slip is told with its key, its value and its cure.

use std::cell::RefCell;

use toml::{Table, Value};

use crate::ConfigError;

/// One table, its place in the file, and the keys that somebody has asked for.
pub(crate) struct Section<'a> {
    path: String,
    table: &'a Table,
    known: RefCell<Vec<String>>,
}

impl<'a> Section<'a> {
    pub(crate) fn new(path: impl Into<String>, table: &'a Table) -> Self {
        Self { path: path.into(), table, known: RefCell::default() }
    }

    /// The whole key, as the file would spell it on one line.
    pub(crate) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(crate) fn bad(&self, key: &str, value: &Value, cure: impl Into<String>) -> ConfigError {
        ConfigError::BadValue { key: self.key(key), value: value.to_string().trim().to_owned(), cure: cure.into() }
    }

    pub(crate) fn value(&self, key: &str) -> Option<&'a Value> {
        self.known.borrow_mut().push(key.to_owned());
        self.table.get(key)
    }

    fn typed<T>(&self, key: &str, read: impl Fn(&'a Value) -> Option<T>, cure: &str) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.bad(key, value, cure))
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<String>, ConfigError> {
        let filled = |value: &Value| value.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned);
        self.typed(key, filled, "write a text in quotes")
    }

    pub(crate) fn required_text(&self, key: &str, cure: &str) -> Result<String, ConfigError> {
        match self.table.get(key) {
            Some(blank) if blank.as_str().is_some_and(|text| text.trim().is_empty()) => Err(self.bad(key, blank, cure)),
            _ => self.text(key)?.ok_or_else(|| ConfigError::Missing { key: self.key(key), cure: cure.into() }),
        }
    }

    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        self.typed(key, Value::as_bool, "write true or false")
    }

    pub(crate) fn number<N: TryFrom<i64>>(&self, key: &str) -> Result<Option<N>, ConfigError> {
        let whole = |value: &Value| value.as_integer().and_then(|number| N::try_from(number).ok());
        self.typed(key, whole, "write a whole number, 0 or more")
    }

    /// A decimal number times `scale`, rounded to a whole: dollars to micro-dollars.
    pub(crate) fn scaled(&self, key: &str, scale: f64, cure: &str) -> Result<Option<u64>, ConfigError> {
        let read = |value: &Value| value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64));
        self.typed(key, |value| read(value).and_then(|number| scale_to_whole(number, scale)), cure)
    }

    pub(crate) fn texts(&self, key: &str) -> Result<Option<Vec<String>>, ConfigError> {
        let all = |value: &'a Value| value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect();
        self.typed(key, all, "write a list of texts: [\"a\", \"b\"]")
    }

    pub(crate) fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let chosen = value.as_str().and_then(|text| choices.iter().find(|(name, _)| *name == text));
        let names = || choices.iter().map(|(name, _)| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        chosen.map(|(_, choice)| Some(*choice)).ok_or_else(|| self.bad(key, value, format!("write one of {}", names())))
    }

    /// The table under `key`, if there is one.
    pub(crate) fn section(&self, key: &str) -> Result<Option<Section<'a>>, ConfigError> {
        let cure = format!("write it as a table: [{}]", self.key(key));
        Ok(self.typed(key, Value::as_table, &cure)?.map(|table| Section::new(self.key(key), table)))
    }

    /// The tables of the list under `key`, if there is one.
    pub(crate) fn list(&self, key: &str) -> Result<Option<Vec<Section<'a>>>, ConfigError> {
        let cure = format!("write each as a table of its own: [[{}]]", self.key(key));
        let tables = |value: &'a Value| value.as_array()?.iter().map(Value::as_table).collect::<Option<Vec<_>>>();
        let numbered = |(at, table)| Section::new(format!("{}[{at}]", self.key(key)), table);
        Ok(self.typed(key, tables, &cure)?.map(|tables| tables.into_iter().enumerate().map(numbered).collect()))
    }

    /// Every table under this one by name (`roles`, `prices`).
    pub(crate) fn named(&self) -> Result<Vec<(&'a str, Section<'a>)>, ConfigError> {
        let read = |name: &'a String| {
            let cure = ConfigError::Missing { key: self.key(name), cure: "write it as a table".into() };
            Ok((name.as_str(), self.section(name)?.ok_or(cure)?))
        };
        self.table.keys().map(read).collect()
    }

    /// Refuses the first key that nobody has asked for.
    pub(crate) fn finish(self) -> Result<(), ConfigError> {
        let known = self.known.borrow();
        let Some(key) = self.table.keys().find(|key| !known.contains(key)) else { return Ok(()) };
        let nearest = known.iter().max_by(|a, b| {
            strsim::jaro_winkler(key, a).total_cmp(&strsim::jaro_winkler(key, b)).then_with(|| b.cmp(a))
        });
        let cure = match nearest {
            Some(name) if strsim::jaro_winkler(key, name) > 0.75 => format!("did you mean {name}?"),
            _ => format!("known here: {}", known.join(", ")),
        };
        Err(ConfigError::UnknownKey { key: self.key(key), cure })
    }
}

/// `number * scale`, rounded; `None` if it is negative, not a number or too large to be meant.
pub(crate) fn scale_to_whole(number: f64, scale: f64) -> Option<u64> {
    let scaled = (number * scale).round();
    (0.0..9e15).contains(&scaled).then_some(scaled as u64)
}
