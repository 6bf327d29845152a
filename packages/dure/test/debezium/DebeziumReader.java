import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Properties;

/** Reads what the properties on its standard input name, and prints one line per record: topic, headers, key, value. Ends with its input. */
public class DebeziumReader {
  public static void main(String[] arguments) throws Exception {
    var properties = new Properties();
    var input = new InputStreamReader(System.in, StandardCharsets.UTF_8);
    var text = new StringBuilder();
    for (int letter = input.read(); letter > 0; letter = input.read()) text.append((char) letter);
    properties.load(new java.io.StringReader(text.toString()));
    DebeziumEngine<ChangeEvent<String, String>> engine =
        DebeziumEngine.create(Json.class, Json.class, Json.class)
            .using(properties)
            .notifying(
                record -> {
                  var headers = new StringBuilder();
                  for (var header : record.headers()) {
                    headers.append(header.getKey()).append('=').append(header.getValue()).append(' ');
                  }
                  System.out.println(
                      String.join("\t", record.destination(), headers.toString(), record.key(), record.value()));
                })
            .using((isOk, message, error) -> {
              System.err.println("ended: " + message);
              if (error != null) error.printStackTrace();
            })
            .build();
    var thread = new Thread(engine);
    thread.start();
    while (input.read() >= 0) {}
    engine.close();
    thread.join(10_000);
    System.exit(0);
  }
}
