//! Who a visitor says that they are: what the form of a widget asks for.

use std::collections::BTreeMap;

use domain::contact::ContactDetails;
use domain::text;
use domain::widget::{LeadForm, LeadFormFieldName};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::error::{ApiError, ApiResult};

/// Who a visitor says that they are.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[schema(as = VisitorDetails)]
pub(super) struct Details {
    #[schema(max_length = 200, example = "Andrea")]
    pub name: Option<String>,
    #[schema(format = Email, max_length = 254, example = "andrea@ejemplo.com")]
    pub email: Option<String>,
    /// E.164.
    #[schema(example = "+56987654321")]
    pub phone: Option<String>,
    #[schema(max_length = 200)]
    pub company: Option<String>,
}

/// What people get to know of the visitor.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub contact: ContactDetails,
    /// As they stand in the lead, by the names of the form's fields.
    pub fields: BTreeMap<String, String>,
}

impl Details {
    /// Checks what was given; errors name fields behind `prefix`. `country` is that of phone numbers without one.
    pub fn read(&self, prefix: &str, country: Option<&str>) -> ApiResult<Known> {
        let named = |field: &str| format!("{prefix}{field}");
        let optional = |field: &str, value: &Option<String>| {
            let text = value.as_deref().map(|text| text::optional(&named(field), text, 200));
            ApiResult::Ok(text.transpose()?.filter(|text| !text.is_empty()))
        };
        let name = optional("name", &self.name)?;
        let company = optional("company", &self.company)?;
        let given = |value: &Option<String>| value.clone().filter(|text| !text.trim().is_empty());
        let email = given(&self.email).map(|email| text::email(&named("email"), &email));
        let email = email.transpose()?;
        let phone = given(&self.phone).map(|phone| text::phone(&named("phone"), &phone, country));
        let phone = phone.transpose()?;
        let all = [("name", &name), ("email", &email), ("phone", &phone), ("company", &company)];
        let fields =
            all.into_iter().filter_map(|(field, value)| Some((field.to_owned(), value.clone()?)));
        let fields = fields.collect();
        let (first_name, last_name) = match name.as_deref().map(|name| name.split_once(' ')) {
            Some(Some((first, last))) => (Some(first.to_owned()), Some(last.trim().to_owned())),
            _ => (name, None),
        };
        Ok(Known { contact: ContactDetails { first_name, last_name, email, phone }, fields })
    }
}

impl Known {
    /// 400 for the first field that a form cannot be sent without and that is not there.
    pub fn check_form(&self, prefix: &str, form: &LeadForm) -> ApiResult<()> {
        let required = form.fields.iter().filter(|field| field.required);
        let mut names = required.map(|field| name_of(field.name));
        match names.find(|name| !self.fields.contains_key(*name)) {
            None => Ok(()),
            Some(name) => {
                let field = format!("{prefix}{name}");
                let message = format!("`{field}` is needed: the form of this widget asks for it");
                Err(ApiError::invalid(&field, message))
            }
        }
    }
}

fn name_of(field: LeadFormFieldName) -> &'static str {
    match field {
        LeadFormFieldName::Name => "name",
        LeadFormFieldName::Email => "email",
        LeadFormFieldName::Phone => "phone",
        LeadFormFieldName::Company => "company",
    }
}
