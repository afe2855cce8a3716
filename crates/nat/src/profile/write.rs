//! Profiles as they are read again.

use serde::{Serialize, Serializer};

use super::{Named, Profile, Source};

impl Named {
    /// The profile as YAML, with all its axes; [`Named::parse`] reads the same from it.
    pub fn to_yaml(&self) -> String {
        let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
        serde_saphyr::to_string_with_options(self, options).unwrap_or_else(|error| format!("# {error}\n"))
    }
}

#[derive(Serialize)]
struct Written<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    summary: &'a str,
    #[serde(flatten)]
    gateways: Gateways<'a>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    sources: &'a [Source],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    assumed: &'a [String],
}

#[derive(Serialize)]
#[serde(untagged)]
enum Gateways<'a> {
    One(Box<Profile>),
    Chain { chain: &'a [Profile] },
}

impl Serialize for Named {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let gateways = match self.chain.as_slice() {
            // Its name is that of the whole, and an empty one is not written.
            [profile] => Gateways::One(Box::new(Profile { name: String::new(), ..profile.clone() })),
            chain => Gateways::Chain { chain },
        };
        let Named { name, summary, chain: _, sources, assumed } = self;
        Written { name, summary, gateways, sources, assumed }.serialize(to)
    }
}
