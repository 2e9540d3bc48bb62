// Starts Swagger UI. It is a file, not a line in the page, because the policy allows no inline script.
"use strict";

// Swagger UI would keep the password beside the token, in its state and so in the browser's storage.
const forgetPassword = () => ({
  statePlugins: {
    auth: {
      wrapActions: {
        authorizeOauth2:
          (authorize) =>
          ({ auth, token }) => {
            const { password, clientSecret, ...rest } = auth;
            return authorize({ auth: rest, token });
          },
      },
    },
  },
});

SwaggerUIBundle({
  url: new URL(document.getElementById("docs").dataset.openapi, document.baseURI).href,
  dom_id: "#docs",
  deepLinking: true,
  persistAuthorization: true,
  tryItOutEnabled: true,
  validatorUrl: null, // its default sends the schema's address to another host
  plugins: [forgetPassword],
});
