// Starts Swagger UI on the description this server generates. Nothing is asked of another origin:
// no validator badge, no fonts, no scripts but ours.
window.addEventListener("load", () => {
  window.ui = window.SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#api",
    deepLinking: true,
    displayRequestDuration: true,
    filter: true,
    tryItOutEnabled: true,
    validatorUrl: null,
    syntaxHighlight: { theme: "agate" },
  });
});
