//! The template in `infra/` as data: short tags spelled out, references to be followed.

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value, json};

use crate::machines::repository;

/// One template of CloudFormation, with `!Ref X` as `{"Ref": "X"}` and `!GetAtt X.Arn` as `{"Fn::GetAtt": ["X", "Arn"]}`.
#[derive(Clone)]
pub struct Template(pub Value);

impl Template {
    /// The template of a stage.
    pub fn load() -> Self {
        Self::load_from("infra/template.yaml")
    }

    /// A template of the repository, by its path.
    pub fn load_from(path: &str) -> Self {
        let path = repository().join(path);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::parse(&text)
    }

    /// A template's text.
    pub fn parse(text: &str) -> Self {
        let documents = Yaml::load_from_str(text).expect("the template is YAML");
        assert_eq!(documents.len(), 1, "the template is one document");
        Self(spelled_out(&documents[0]))
    }

    /// Every resource: its logical id, its type, its properties.
    pub fn resources(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        let resources = self.0["Resources"].as_object().into_iter().flatten();
        resources
            .map(|(id, resource)| (id.as_str(), resource["Type"].as_str().unwrap_or_default(), &resource["Properties"]))
    }

    /// The resources of one type.
    pub fn of_type(&self, wanted: &str) -> Vec<(&str, &Value)> {
        self.resources().filter(|(_, kind, _)| *kind == wanted).map(|(id, _, properties)| (id, properties)).collect()
    }

    /// A resource's properties.
    pub fn properties(&self, id: &str) -> &Value {
        &self.0["Resources"][id]["Properties"]
    }

    /// The same, to be changed: what a test of a test does.
    pub fn properties_mut(&mut self, id: &str) -> &mut Value {
        &mut self.0["Resources"][id]["Properties"]
    }

    /// The template without what stands under a condition that does not hold. Where one is asked for in an `Fn::If`, its
    /// side is taken.
    pub fn under(&self, holds: &dyn Fn(&str) -> bool) -> Self {
        let mut template = decided(&self.0, holds).unwrap_or_default();
        if let Some(resources) = template["Resources"].as_object_mut() {
            resources.retain(|_, resource| resource["Condition"].as_str().is_none_or(holds));
        }
        Self(template)
    }

    /// The statements of a role: its own and those of the managed policies of this template that it has.
    pub fn statements(&self, role: &str) -> Vec<&Value> {
        let properties = self.properties(role);
        let own = list(&properties["Policies"]).into_iter().map(|policy| &policy["PolicyDocument"]);
        let managed = list(&properties["ManagedPolicyArns"]).into_iter().filter_map(|policy| policy["Ref"].as_str());
        let managed = managed.map(|id| &self.properties(id)["PolicyDocument"]);
        own.chain(managed).flat_map(|document| list(&document["Statement"])).collect()
    }
}

/// A function or a machine as a logical id: `run-control` is `RunControl`.
pub fn logical_id(name: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('-').map(capital).collect()
}

/// What may be one thing or a list of them, as a list.
pub fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().collect(),
        one => vec![one],
    }
}

/// Texts in a value that may be one text or a list of them.
pub fn texts(value: &Value) -> Vec<&str> {
    list(value).into_iter().filter_map(Value::as_str).collect()
}

/// The logical id that a value refers to, by `Ref`, by `Fn::GetAtt` or alone in an `Fn::Sub`.
pub fn referred(value: &Value) -> Option<&str> {
    let sub = || value["Fn::Sub"].as_str()?.strip_prefix("${")?.split(['.', '}']).next();
    let attribute = || value["Fn::GetAtt"][0].as_str();
    value["Ref"].as_str().or_else(attribute).or_else(sub).map(|id| id.split('.').next().unwrap_or(id))
}

/// Takes the sides of `Fn::If`; `None` is `AWS::NoValue`, which takes the property away.
fn decided(value: &Value, holds: &dyn Fn(&str) -> bool) -> Option<Value> {
    if value["Ref"] == "AWS::NoValue" {
        return None;
    }
    if let (Some(condition), [_, then, otherwise]) =
        (value["Fn::If"][0].as_str(), value["Fn::If"].as_array().map_or(&[][..], Vec::as_slice))
    {
        return decided(if holds(condition) { then } else { otherwise }, holds);
    }
    Some(match value {
        Value::Array(items) => Value::Array(items.iter().filter_map(|item| decided(item, holds)).collect()),
        Value::Object(fields) => {
            let kept = fields.iter().filter_map(|(name, field)| Some((name.clone(), decided(field, holds)?)));
            Value::Object(kept.collect())
        }
        other => other.clone(),
    })
}

fn spelled_out(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(Scalar::String(text)) => Value::from(text.as_ref()),
        Yaml::Value(Scalar::Integer(number)) => Value::from(*number),
        Yaml::Value(Scalar::Boolean(truth)) => Value::from(*truth),
        Yaml::Value(Scalar::FloatingPoint(number)) => Value::from(number.into_inner()),
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Sequence(items) => items.iter().map(spelled_out).collect(),
        Yaml::Mapping(fields) => {
            let key = |key: &Yaml<'_>| key.as_str().map(str::to_owned).expect("the template's keys are texts");
            Value::Object(fields.iter().map(|(name, field)| (key(name), spelled_out(field))).collect::<Map<_, _>>())
        }
        Yaml::Tagged(tag, inner) => intrinsic(&tag.suffix, spelled_out(inner)),
        strange => panic!("the template holds what no template holds: {strange:?}"),
    }
}

fn intrinsic(tag: &str, value: Value) -> Value {
    match (tag, &value) {
        ("Ref" | "Condition", _) => json!({ tag: value }),
        ("GetAtt", Value::String(path)) => {
            let (id, attribute) = path.split_once('.').expect("an attribute of something");
            json!({ "Fn::GetAtt": [id, attribute] })
        }
        _ => json!({ format!("Fn::{tag}"): value }),
    }
}
