//! Which providers may serve a call: all providers of its method, or only those with a given name.

use std::fmt;

use gleitzeit_workflow::id::{MethodName, ProviderName};

/// A method, and the provider name that a task asks for, if any.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The method that is called.
    pub method: MethodName,
    /// Only providers of this name may serve it; absent: all that serve the method.
    pub provider: Option<ProviderName>,
}

impl Route {
    /// A route to the providers of this name, or to any.
    pub fn new(method: &MethodName, provider: Option<&ProviderName>) -> Self {
        Self { method: method.clone(), provider: provider.cloned() }
    }

    /// A route to any provider of a method.
    pub fn any(method: MethodName) -> Self {
        Self { method, provider: None }
    }

    /// Whether the route admits a provider of this name.
    pub fn admits(&self, name: &str) -> bool {
        self.provider.as_ref().is_none_or(|wanted| wanted.as_str() == name)
    }

    /// Whether one provider could serve both routes.
    pub fn meets(&self, other: &Self) -> bool {
        let same = self.provider.as_ref().zip(other.provider.as_ref()).is_none_or(|(one, two)| one == two);
        self.method == other.method && same
    }

    /// The routes that a provider of this name and with these methods serves.
    pub fn of_provider<'a>(name: &'a str, methods: &'a [MethodName]) -> impl Iterator<Item = Self> + 'a {
        methods.iter().flat_map(move |method| {
            let named = (!name.is_empty()).then(|| Self { method: method.clone(), provider: Some(name.into()) });
            [Some(Self::any(method.clone())), named].into_iter().flatten()
        })
    }
}

/// The method in backticks, with the provider's name if there is one, written to follow "the providers of".
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.provider {
            None => write!(f, "`{}`", self.method),
            Some(name) => write!(f, "`{}` named `{name}`", self.method),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_admits_the_providers_that_it_names() {
        let (any, named) = (Route::any("a/b".into()), Route::new(&"a/b".into(), Some(&"x".into())));
        assert!(any.admits("x") && any.admits("") && named.admits("x") && !named.admits("y") && !named.admits(""));
        let other = Route::new(&"a/b".into(), Some(&"y".into()));
        assert!(any.meets(&named) && named.meets(&any) && named.meets(&named) && !named.meets(&other));
        assert!(!any.meets(&Route::any("a/c".into())));
        let methods = ["a/b".into()];
        assert_eq!(Route::of_provider("x", &methods).collect::<Vec<_>>(), [any.clone(), named.clone()]);
        assert_eq!(Route::of_provider("", &methods).collect::<Vec<_>>(), std::slice::from_ref(&any));
        assert_eq!((any.to_string().as_str(), named.to_string().as_str()), ("`a/b`", "`a/b` named `x`"));
    }
}
