//! Providers as the validation of a workflow sees them.

use gleitzeit_protocols::Registry;
use gleitzeit_workflow::spec::KnownProvider;

use crate::definition::Definition;
use crate::factory::Factory;
use crate::settings::Settings;

/// The names by which a workflow may call the providers of these definitions, what they serve and the addresses of
/// their services. A definition whose protocol is unknown serves nothing.
pub fn known(definitions: &[Definition], protocols: &Registry, settings: &Settings) -> Vec<KnownProvider> {
    let one = |definition: &Definition| {
        let methods = protocols.methods(&definition.protocol, &definition.version);
        KnownProvider {
            name: definition.name.clone(),
            methods: methods.into_iter().flatten().map(str::to_owned).collect(),
            address: Factory::address(definition, settings),
        }
    };
    definitions.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses by provider name, with these variables set.
    fn addresses(texts: &[&str], variables: &'static [(&'static str, &'static str)]) -> Vec<(String, Option<String>)> {
        let own = texts.iter().map(|text| Definition::parse("p.yaml", text).expect("valid"));
        let definitions: Vec<Definition> = crate::shipped().into_iter().chain(own).collect();
        let settings = Settings::from_env(move |name| {
            variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).into())
        });
        let known = known(&definitions, &Registry::shipped(), &settings);
        assert!(known.iter().all(|it| !it.methods.is_empty()));
        known.into_iter().map(|it| (it.name, it.address)).collect()
    }

    fn of(all: &[(String, Option<String>)], name: &str) -> Option<String> {
        all.iter().find(|(it, _)| it == name).and_then(|(_, address)| address.clone())
    }

    #[test]
    fn an_address_is_known_if_it_is_set() {
        let crm =
            "name: crm\nprotocol: http/v1\nexecutor: http\nconnection: {base_url: 'https://CRM.example.com:443/v1/'}\n";
        let all = addresses(&[crm], &[]);
        assert_eq!(of(&all, "crm").as_deref(), Some("https://crm.example.com/v1"));
        assert_eq!(of(&all, "http").as_deref(), Some("*"), "its tasks say where");
        for name in ["python_local", "shell_local", "util", "ollama", "openai"] {
            assert_eq!(of(&all, name), None, "{name}");
        }
        let set = addresses(&[], &[("OLLAMA_HOST", "models:8080"), ("OPENAI_BASE_URL", "http://localhost:1/v1")]);
        assert_eq!(of(&set, "ollama").as_deref(), Some("http://models:8080"));
        assert_eq!(of(&set, "openai").as_deref(), Some("http://localhost:1/v1"));
    }
}
