import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.google.common.collect.ImmutableList;
import com.google.common.collect.ImmutableMap;
import dev.openfeature.contrib.providers.ofrep.OfrepProvider;
import dev.openfeature.contrib.providers.ofrep.OfrepProviderOptions;
import dev.openfeature.sdk.Client;
import dev.openfeature.sdk.FlagEvaluationDetails;
import dev.openfeature.sdk.ImmutableContext;
import dev.openfeature.sdk.OpenFeatureAPI;
import dev.openfeature.sdk.Value;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * The OFREP provider in the OpenFeature SDK, as an application uses it: {@code Ofrep URL [HEADER=VALUE...]}.
 *
 * <p>Reads cases, one JSON object a line, and writes a line for each with what the application saw. It
 * judges nothing: the tests compare.
 */
public final class Ofrep {
    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) throws Exception {
        OpenFeatureAPI api = OpenFeatureAPI.getInstance();
        api.setProviderAndWait(OfrepProvider.constructProvider(options(arguments)));
        Client client = api.getClient();
        var cases = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        for (String line = cases.readLine(); line != null; line = cases.readLine()) {
            out.println(JSON.writeValueAsString(seen(evaluate(client, JSON.readTree(line)))));
        }
        api.shutdown();
    }

    private static OfrepProviderOptions options(String[] arguments) {
        var headers = ImmutableMap.<String, ImmutableList<String>>builder();
        for (int i = 1; i < arguments.length; i++) {
            String[] header = arguments[i].split("=", 2);
            headers.put(header[0], ImmutableList.of(header[1]));
        }
        return OfrepProviderOptions.builder().baseUrl(arguments[0]).headers(headers.build()).build();
    }

    private static FlagEvaluationDetails<?> evaluate(Client client, JsonNode asked) throws Exception {
        String flag = asked.get("flag").textValue();
        JsonNode fallback = asked.get("default");
        ImmutableContext context = context(asked.get("context"));
        return switch (asked.get("kind").textValue()) {
            case "boolean" -> client.getBooleanDetails(flag, fallback.booleanValue(), context);
            case "string" -> client.getStringDetails(flag, fallback.textValue(), context);
            case "integer" -> client.getIntegerDetails(flag, fallback.intValue(), context);
            case "float" -> client.getDoubleDetails(flag, fallback.doubleValue(), context);
            default -> client.getObjectDetails(flag, value(fallback), context);
        };
    }

    private static ImmutableContext context(JsonNode asked) throws Exception {
        Map<String, Value> attributes = new HashMap<>(value(asked).asStructure().asMap());
        Value key = attributes.remove("targetingKey");
        return key == null ? new ImmutableContext(attributes) : new ImmutableContext(key.asString(), attributes);
    }

    private static Value value(JsonNode json) throws Exception {
        return Value.objectToValue(JSON.treeToValue(json, Object.class));
    }

    private static Map<String, Object> seen(FlagEvaluationDetails<?> details) {
        Map<String, Object> seen = new LinkedHashMap<>();
        Object value = details.getValue();
        seen.put("value", value instanceof Value object ? object.asStructure().asObjectMap() : value);
        seen.put("reason", details.getReason());
        seen.put("variant", details.getVariant());
        seen.put("error", details.getErrorCode());
        seen.put("message", details.getErrorMessage() == null ? "" : details.getErrorMessage());
        seen.put("metadata", details.getFlagMetadata().asUnmodifiableMap());
        return seen;
    }

    private Ofrep() {}
}
